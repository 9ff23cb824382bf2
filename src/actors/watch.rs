//! The eyes of the locks: answers when a key's index has passed a given one.
//!
//! Its interface is a virtual blocking read. Each key that is looked at has one
//! real one, within the limit on connections. A read is never broken off: an
//! abandoned one would go on using up the agent until its wait ends.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;

use super::{
    obituary::Obituary,
    slot::Slot,
    supervisor::{Died, Settings},
};
use crate::{
    consul::{client::Consul, fact::Seen},
    key::Key,
    protocol::{Ticket, lock::Event},
};

/// Asks to be told when the index of the slot's key has passed `after`, or a
/// wait has run out; the answer is a fact reported to the slot.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Watch {
    pub(super) slot: Arc<Slot>,
    pub(super) after: u64,
    pub(super) ticket: Ticket,
    /// It is for a key that is held: those that are waited for come first.
    pub(super) held: bool,
}

/// One real blocking read.
struct Read {
    number: u64,
    after: u64,
    held: bool,
    watch: Watch,
}

pub(super) struct WatchActor {
    consul: Consul,
    settings: Rc<Settings>,
    reads: HashMap<Key, Read>,
    /// Reads that go on although nobody waits for their answer.
    abandoned: usize,
    numbers: u64,
    #[expect(dead_code, reason = "it tells of the actor's death by being dropped")]
    obituary: Obituary<Died>,
}

/// For how long one blocking read waits: an abandoned one keeps server work, and
/// a connection slot, until its wait ends.
const WAIT: Duration = Duration::from_secs(30);

impl WatchActor {
    pub(super) fn new(consul: Consul, settings: Rc<Settings>, parent: Recipient<Died>) -> Self {
        let obituary = Obituary::new(parent, Died::Watch);
        Self { consul, settings, reads: HashMap::new(), abandoned: 0, numbers: 0, obituary }
    }

    fn read(&mut self, watch: Watch, ctx: &mut Context<Self>) {
        self.numbers += 1;
        let (number, after) = (self.numbers, watch.after);
        let (consul, key) = (self.consul.clone(), watch.slot.key.clone());
        let grace = self.settings.timing.request_timeout();
        let read = Read { number, after, held: watch.held, watch };
        if self.reads.insert(key.clone(), read).is_some() {
            self.abandoned += 1;
        }
        let question = async move {
            let seen = consul.watch(&key, after, WAIT, grace).await;
            (key, seen)
        };
        ctx.spawn(question.into_actor(self).map(move |(key, seen), actor, ctx| {
            actor.answered(number, &key, seen, ctx);
        }));
    }

    fn answered(&mut self, number: u64, key: &Key, seen: Seen, ctx: &mut Context<Self>) {
        if self.reads.get(key).is_none_or(|read| read.number != number) {
            self.abandoned = self.abandoned.saturating_sub(1);
            return;
        }
        let Some(Read { after, watch, .. }) = self.reads.remove(key) else { return };
        let has_news = match &seen {
            Seen::Found { index, .. } | Seen::Missing { index } => {
                // An index from before `after` is of another history of the store.
                *index > watch.after || *index < after
            }
            Seen::Denied(_) | Seen::Unknown(_) => true,
        };
        if has_news || watch.after == after {
            watch.slot.report(Event::Watched { ticket: watch.ticket, answer: seen });
        } else {
            // Asked for something newer than this read could tell.
            self.read(watch, ctx);
        }
    }
}

impl Actor for WatchActor {
    type Context = Context<Self>;
}

impl Handler<Watch> for WatchActor {
    type Result = ();

    fn handle(&mut self, watch: Watch, ctx: &mut Context<Self>) {
        // If the index went backwards, the read under way would wait in vain.
        let fits = |read: &&mut Read| watch.after >= read.after;
        if let Some(read) = self.reads.get_mut(&watch.slot.key).filter(fits) {
            read.held = watch.held;
            read.watch = watch;
            return;
        }
        let limit = self.settings.watches;
        let in_use = self.reads.len() + self.abandoned;
        let held = self.reads.values().filter(|read| read.held).count();
        if in_use >= limit || (watch.held && held >= limit / 2) {
            let ticket = watch.ticket;
            watch.slot.report(Event::WatchRefused { ticket, limit });
        } else {
            self.read(watch, ctx);
        }
    }
}
