//! The eyes of the locks: answers when a key's index is another than a given one.
//!
//! Its interface is a virtual blocking read. Which real ones carry it is decided
//! by [`Watches`].

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;
use actix_rt::task::JoinHandle;

use super::{
    obituary::Obituary,
    question::{ask_until_aborted, unanswered},
    supervisor::{Died, Settings},
};
use crate::holding::slot::Slot;
use crate::{
    clock::Moment,
    consul::{
        ask,
        client::Consul,
        fact::{Listed, Seen, Trouble},
        http::Http,
    },
    key::Key,
    protocol::{
        Ticket, lock,
        watch::{Effect, Event, Watches},
    },
    status::report::Saturation,
};

/// Asks to be told when the index of the slot's key is not `after` any more; the
/// answer is a fact reported to the slot. It takes the place of an earlier watch
/// of the key.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Watch {
    pub(super) slot: Arc<Slot>,
    pub(super) after: u64,
    pub(super) ticket: Ticket,
    /// It is for a key that is held: those that are waited for come first.
    pub(super) held: bool,
}

/// A read was answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered(Event);

pub(super) struct WatchActor {
    consul: Consul,
    settings: Rc<Settings>,
    machine: Watches,
    /// Who is to be told of a key.
    slots: HashMap<Key, Arc<Slot>>,
    /// How many reads a connection carries.
    carries: usize,
    /// The reads under way. They end with the actor: their places would be
    /// missing to the next one.
    reads: HashMap<Ticket, JoinHandle<()>>,
    /// The timer, and when it rings.
    timer: Option<(SpawnHandle, Moment)>,
    #[expect(dead_code, reason = "it tells of the actor's death by being dropped")]
    obituary: Obituary<Died>,
}

/// The time limit of a listing that does not wait: it can be long.
const LISTING_LIMIT: Duration = Duration::from_secs(10);

impl WatchActor {
    pub(super) fn new(consul: Consul, settings: Rc<Settings>, parent: Recipient<Died>) -> Self {
        let obituary = Obituary::new(parent, Died::Watch);
        let machine = Watches::new(settings.watches, settings.clock.now().as_nanos());
        let (slots, reads) = (HashMap::new(), HashMap::new());
        Self { consul, settings, machine, slots, carries: 1, reads, timer: None, obituary }
    }

    fn feed(&mut self, event: Event, ctx: &mut Context<Self>) {
        let mut effects = Vec::new();
        let now = self.settings.clock.now();
        // Over TLS it is known when the first connection stands.
        let connections = self.consul.connections();
        let carries = connections.and_then(Http::reads_per_connection).unwrap_or(1);
        if std::mem::replace(&mut self.carries, carries) != carries {
            self.machine.handle(now, Event::Carries(carries), &mut effects);
        }
        if self.consul.connections().is_some_and(Http::take_refused) {
            self.machine.handle(now, Event::Refused, &mut effects);
        }
        self.machine.handle(now, event, &mut effects);
        let (allowed, most) = self.machine.connections();
        if let Some(connections) = self.consul.connections() {
            connections.bound(allowed, most);
        }
        self.settings.journal.watch_connections(Saturation { allowed, most });
        for effect in effects {
            self.perform(effect, ctx);
        }
        self.arm(now, ctx);
    }

    fn perform(&mut self, effect: Effect, ctx: &Context<Self>) {
        let consul = self.consul.clone();
        let limit = self.settings.timing.request_timeout();
        // A read that outlives the actor does not keep it.
        let me = ctx.address().downgrade();
        let tell = move |event| {
            if let Some(me) = me.upgrade() {
                me.do_send(Answered(event));
            }
        };
        match effect {
            Effect::Read { read, key, after, wait } => {
                let lost = Event::Seen { read, answer: Seen::Unknown(unanswered()) };
                let task = ask_until_aborted(lost, tell, async move {
                    let answer =
                        consul.ask(&ask::Watch { key, after: Some(after), wait }, limit).await;
                    Event::Seen { read, answer }
                });
                self.reads.insert(read, task);
            }
            Effect::Check { read, key } => {
                let lost = Event::Seen { read, answer: Seen::Unknown(unanswered()) };
                let task = ask_until_aborted(lost, tell, async move {
                    let answer = consul
                        .ask(&ask::Watch { key, after: None, wait: Duration::ZERO }, limit)
                        .await;
                    Event::Seen { read, answer }
                });
                self.reads.insert(read, task);
            }
            Effect::List { read, prefix, after, wait } => {
                let lost = Event::Listed { read, answer: Listed::Unknown(unanswered()) };
                let task = ask_until_aborted(lost, tell, async move {
                    let list = ask::List { prefix, after, wait };
                    let answer = consul.ask(&list, LISTING_LIMIT).await;
                    Event::Listed { read, answer }
                });
                self.reads.insert(read, task);
            }
            Effect::Probe { read } => {
                let lost = Event::Probed { read, refused: false };
                let task = ask_until_aborted(lost, tell, async move {
                    let refused = match consul.connections() {
                        Some(connections) => {
                            matches!(connections.probe().await, Err(Trouble::Refused(_)))
                        }
                        None => false,
                    };
                    Event::Probed { read, refused }
                });
                self.reads.insert(read, task);
            }
            Effect::Answer { key, ticket, answer } => {
                self.report(&key, lock::Event::Watched { ticket, answer });
            }
            Effect::Unchanged { key, ticket } => {
                self.report(&key, lock::Event::Unchanged { ticket });
            }
        }
    }

    fn report(&mut self, key: &Key, fact: lock::Event) {
        if let Some(slot) = self.slots.remove(key) {
            slot.report(fact);
        }
    }

    fn arm(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let Some(at) = self.machine.next_wakeup() else { return };
        // A timer that rings too early does no harm.
        if let Some((timer, rings)) = self.timer {
            if rings <= at {
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at.since(now), |actor, ctx| {
            actor.timer = None;
            actor.feed(Event::Tick, ctx);
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

    fn handle(&mut self, watch: Watch, ctx: &mut Context<Self>) {
        let Watch { slot, after, ticket, held } = watch;
        let key = slot.key.clone();
        self.slots.insert(key.clone(), slot);
        self.feed(Event::Watch { key, ticket, after, held }, ctx);
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
        self.feed(event, ctx);
    }
}
