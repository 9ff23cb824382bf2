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
    question,
    settings::Settings,
    timer::{Timed, Timer},
};
use crate::{
    clock::Moment,
    consul::{client::Consul, fact::Trouble, http::Http},
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
    /// The pause before it begins.
    pause: Duration,
    timer: Timer,
    #[expect(dead_code, reason = "dropping it reports the actor's death")]
    death_notice: DeathNotice<ForWarden>,
}

/// The time limit of a listing that does not block: its answer can be large.
const LISTING_LIMIT: Duration = Duration::from_secs(10);

impl WatchActor {
    /// Creates the actor, which begins after `pause`.
    pub(super) fn new(
        consul: Consul,
        settings: Rc<Settings>,
        warden: Recipient<ForWarden>,
        pause: Duration,
    ) -> Self {
        let death_notice = DeathNotice::new(warden, ForWarden(warden::Event::WatchDied));
        let watchers = Watchers::new(settings.watches, settings.clock.now().as_nanos());
        let reads = HashMap::new();
        let timer = Timer::default();
        Self { consul, settings, watchers, carries: 1, reads, pause, timer, death_notice }
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
        self.settings.journal.set_watch_connections(Saturation { allowed, most });
        for read in reads {
            self.begin(read, ctx);
        }
        self.arm(now, self.watchers.next_wakeup(), ctx);
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
        let task = match what {
            What::Key(ask) => question::ask(&consul, ask, limit, move |answer| {
                tell(Event::Seen { read, answer });
            }),
            What::Prefix(ask) => question::ask(&consul, ask, LISTING_LIMIT, move |answer| {
                tell(Event::Listed { read, answer });
            }),
            What::Probe => {
                let tell = move |refused| tell(Event::Probed { read, refused });
                question::run(false, tell, async move {
                    match consul.connections() {
                        Some(connections) => {
                            matches!(connections.probe().await, Err(Trouble::Refused(_)))
                        }
                        None => false,
                    }
                })
            }
        };
        self.reads.insert(read, task);
    }
}

impl Actor for WatchActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.pause.is_zero() {
            // Its mailbox waits as well.
            ctx.wait(fut::wrap_future(tokio::time::sleep(self.pause)));
        }
    }
}

impl Timed for WatchActor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.work(|watchers, now| watchers.handle(now, Event::Tick), ctx);
    }
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
