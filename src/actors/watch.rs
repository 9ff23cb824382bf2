//! Runs blocking reads for locks that wait for a key to change.
//!
//! A watch is answered when the key's index differs from a given one.
//! [`Watches`](crate::protocol::watch::Watches) decides which reads serve it.

use std::{collections::HashMap, rc::Rc, time::Duration};

use actix::prelude::*;
use actix_rt::task::JoinHandle;

use super::{
    death_notice::DeathNotice,
    messages::{ForWarden, Watch},
    question::{ask_abortable, unanswered},
    settings::Settings,
};
use crate::{
    clock::Moment,
    consul::{
        client::Consul,
        fact::{Listed, Seen, Trouble},
        http::Http,
    },
    holding::watchers::{Read, Watchers, What},
    protocol::{Ticket, warden, watch::Event},
    status::report::Saturation,
};

/// The answer to a read.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered(Event);

pub(super) struct WatchActor {
    consul: Consul,
    settings: Rc<Settings>,
    watchers: Watchers,
    /// The number of concurrent reads per connection.
    carries: usize,
    /// The reads in flight. Aborted with the actor; otherwise they would occupy its
    /// successor's places.
    reads: HashMap<Ticket, JoinHandle<()>>,
    /// The timer, and when it fires.
    timer: Option<(SpawnHandle, Moment)>,
    #[expect(dead_code, reason = "dropping it reports the actor's death")]
    death_notice: DeathNotice<ForWarden>,
}

/// The time limit of a listing that does not block: its answer can be large.
const LISTING_LIMIT: Duration = Duration::from_secs(10);

impl WatchActor {
    pub(super) fn new(
        consul: Consul,
        settings: Rc<Settings>,
        warden: Recipient<ForWarden>,
    ) -> Self {
        let death_notice = DeathNotice::new(warden, ForWarden(warden::Event::WatchDied));
        let watchers = Watchers::new(settings.watches, settings.clock.now().as_nanos());
        let reads = HashMap::new();
        Self { consul, settings, watchers, carries: 1, reads, timer: None, death_notice }
    }

    /// Runs one step of the machine and starts the reads that it requests.
    fn work(
        &mut self,
        step: impl FnOnce(&mut Watchers, Moment) -> Vec<Read>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.settings.clock.now();
        // Over TLS, this is known once the first connection is established.
        let connections = self.consul.connections();
        let carries = connections.and_then(Http::reads_per_connection).unwrap_or(1);
        let mut reads = Vec::new();
        if std::mem::replace(&mut self.carries, carries) != carries {
            reads.extend(self.watchers.handle(now, Event::Carries(carries)));
        }
        if connections.is_some_and(Http::take_refused) {
            reads.extend(self.watchers.handle(now, Event::Refused));
        }
        reads.extend(step(&mut self.watchers, now));
        let (allowed, most) = self.watchers.connections();
        if let Some(connections) = self.consul.connections() {
            connections.bound(allowed, most);
        }
        self.settings.journal.watch_connections(Saturation { allowed, most });
        for read in reads {
            self.begin(read, ctx);
        }
        self.arm(now, ctx);
    }

    fn begin(&mut self, Read { read, what }: Read, ctx: &Context<Self>) {
        let consul = self.consul.clone();
        let limit = self.settings.timing.request_timeout();
        // Weak: a read must not keep the actor alive.
        let me = ctx.address().downgrade();
        let tell = move |event| {
            if let Some(me) = me.upgrade() {
                me.do_send(Answered(event));
            }
        };
        let lost = match what {
            What::Key(_) => Event::Seen { read, answer: Seen::Unknown(unanswered()) },
            What::Prefix(_) => Event::Listed { read, answer: Listed::Unknown(unanswered()) },
            What::Probe => Event::Probed { read, refused: false },
        };
        let task = ask_abortable(lost, tell, async move {
            match what {
                What::Key(ask) => {
                    let answer = consul.ask(&ask, limit).await;
                    Event::Seen { read, answer }
                }
                What::Prefix(ask) => {
                    let answer = consul.ask(&ask, LISTING_LIMIT).await;
                    Event::Listed { read, answer }
                }
                What::Probe => {
                    let refused = match consul.connections() {
                        Some(connections) => {
                            matches!(connections.probe().await, Err(Trouble::Refused(_)))
                        }
                        None => false,
                    };
                    Event::Probed { read, refused }
                }
            }
        });
        self.reads.insert(read, task);
    }

    fn arm(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let Some(at) = self.watchers.next_wakeup() else { return };
        // A timer that fires too early is harmless.
        if let Some((timer, rings)) = self.timer {
            if rings <= at {
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at.since(now), |actor, ctx| {
            actor.timer = None;
            actor.work(|watchers, now| watchers.handle(now, Event::Tick), ctx);
        });
        self.timer = Some((timer, at));
    }
}

impl Actor for WatchActor {
    type Context = Context<Self>;
}

impl Drop for WatchActor {
    fn drop(&mut self) {
        self.reads.values().for_each(JoinHandle::abort);
    }
}

impl Handler<Watch> for WatchActor {
    type Result = ();

    fn handle(&mut self, Watch(watch): Watch, ctx: &mut Context<Self>) {
        self.work(|watchers, now| watchers.watch(now, watch), ctx);
    }
}

impl Handler<Answered> for WatchActor {
    type Result = ();

    fn handle(&mut self, Answered(event): Answered, ctx: &mut Context<Self>) {
        if let Event::Seen { read, .. } | Event::Listed { read, .. } | Event::Probed { read, .. } =
            &event
        {
            self.reads.remove(read);
        }
        self.work(|watchers, now| watchers.handle(now, event), ctx);
    }
}
