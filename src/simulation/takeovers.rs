//! An operator takes locks away from their holders, as `ForceRelease` does.
//!
//! Its requests are those of the library; they are answered at once. A holder that still
//! renews its session learns the loss only from its watch. So the holder is cut off until its
//! lease has ended, or is stopped, or reads undisturbed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{event::Event, operator::Act, world::World};
use crate::{
    consul::{
        Answer,
        ask::{
            Ask, Checks, CreateSession, DestroySession, Keyspace, Release, ReleaseHow, SessionInfo,
            What, Write,
        },
        fact::{Created, Released, SessionId, SessionSeen, Trouble, Written},
    },
    embedded::api::Response,
    key::Key,
    protocol::takeover,
};

/// The locks that were taken away.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    /// The sessions that keep keys.
    keepers: BTreeSet<SessionId>,
    /// The last index at which each session lost a key to one of them.
    taken: BTreeMap<(Key, SessionId), u64>,
}

impl Takeovers {
    pub(super) fn keeps(&self, session: &SessionId) -> bool {
        self.keepers.contains(session)
    }

    /// Whether the ownership that this session won at `index` was taken away.
    pub(super) fn ended(&self, key: &Key, session: &SessionId, index: u64) -> bool {
        self.taken.get(&(key.clone(), session.clone())).is_some_and(|taken| *taken >= index)
    }
}

impl World {
    /// Lets the holder be unaware, or not, and takes its lock away soon.
    pub(super) fn strike_before_a_takeover(&mut self, key: &Key) {
        let Some(holder) = self.holding(key) else { return };
        let lease = self.plan.timing.lease();
        match self.random.below(3) {
            0 => self.cut_both_ways(holder, lease * 3),
            1 => {
                let lasts = self.random.skewed_millis(100..=80_000);
                self.pause(holder, lasts);
            }
            _ => {}
        }
        let pause = self.random.skewed_millis(0..=3_000);
        self.after(pause, Event::Operator(Act::TakeAway(key.clone())));
    }

    /// Takes the lock away from its holder, if there is one.
    pub(super) fn take_away(&mut self, key: &Key) {
        let Some((victim, index)) = self.server.holder(key) else { return };
        if self.is_healed() || self.takeovers.keeps(&victim) {
            return;
        }
        let ttl = match self.answer(&SessionInfo { session: victim.clone() }) {
            SessionSeen::Exists { ttl, .. } => ttl,
            _ => None,
        };
        let keeps = takeover::keeps(ttl);
        let ttl = keeps.max(Duration::from_secs(10)) + Duration::from_secs(4);
        let (name, checks) = ("operator".into(), Checks::default());
        let create =
            CreateSession { name, ttl, lock_delay: keeps, checks, patience: Duration::ZERO };
        let Created::Session(keeper) = self.answer(&create) else { return };
        let Some(pair) = self.server.api.engine.pair(key.as_str().as_bytes()) else { return };
        let (value, flags) = (pair.value.clone(), pair.flags);
        let what = What::PassTo { session: keeper.clone(), value: value.clone(), flags };
        let pass = Write { key: key.clone(), session: victim.clone(), index, what };
        let Written::Done { index: kept_at } = self.answer(&pass) else {
            return self.violate(|| format!("{key} could not be taken away from {victim}"));
        };
        self.stats.fault("lock taken away");
        self.takeovers.keepers.insert(keeper.clone());
        self.takeovers.taken.insert((key.clone(), victim), index);
        self.last_arrival = self.last_arrival.max(self.now + keeps);
        let how = ReleaseHow::Keep { value, flags };
        let release = Release { key: key.clone(), session: keeper, index: kept_at, how };
        self.after(keeps, Event::Operator(Act::GiveUp(release)));
    }

    /// Releases a key that was kept.
    pub(super) fn give_up(&mut self, release: &Release) {
        if self.answer(release) != Released::Done {
            // Somebody has changed the key: the end of the session frees it.
            let delay = self.plan.timing.session_ttl * self.plan.ttl_stretch;
            self.last_arrival = self.last_arrival.max(self.now + delay);
        }
        self.answer(&DestroySession { session: release.session.clone() });
    }

    fn answer<A: Ask>(&mut self, ask: &A) -> A::Fact {
        let keys = Keyspace::default();
        match self.server.api.respond(self.now, &ask.request(&keys)) {
            Response::Now(reply) => ask.read(&keys, Answer::new(&reply, None)),
            Response::Parked(_) => ask.unanswered(Trouble::Broken("it waits".into())),
        }
    }
}
