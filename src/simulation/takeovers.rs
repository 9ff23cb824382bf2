//! An operator takes locks away from their holders, as `ForceRelease` does.
//!
//! Its requests are those of the library; they are answered at once. A holder that still
//! renews its session learns the loss only from its watch: the one exception of G1. Its lease
//! may stay valid until it has heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    event::Event,
    invariants::TELL_LIMIT,
    operator::Act,
    parts::Part,
    question::{Fact, Question},
    server::Exchange,
    world::World,
};
use crate::{
    clock::Moment,
    consul::{
        Answer,
        ask::{
            Ask, Checks, CreateSession, DestroySession, Keyspace, Release, ReleaseHow, SessionInfo,
            What, Write,
        },
        fact::{
            Created, Listed, Released, Renewed, Seen, SessionId, SessionSeen, Trouble, Written,
        },
    },
    embedded::api::Response,
    key::Key,
    protocol::{session, takeover, watch},
};

/// The locks that were taken away.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    /// The sessions that keep keys.
    keepers: BTreeSet<SessionId>,
    /// The last taking of each key from each session.
    taken: BTreeMap<(Key, SessionId), Taken>,
}

/// A lock that was taken away.
#[derive(Debug)]
struct Taken {
    /// The index of the ownership.
    index: u64,
    /// The index at which the operator's session locked the key.
    kept_at: u64,
    /// A renewal that its holder sent later was answered.
    is_renewed: bool,
    /// When the holder's watch showed it.
    heard_at: Option<Moment>,
}

impl Takeovers {
    pub(super) fn keeps(&self, session: &SessionId) -> bool {
        self.keepers.contains(session)
    }

    /// Whether the ownership that this session won at `index` was taken away.
    pub(super) fn ended(&self, key: &Key, session: &SessionId, index: u64) -> bool {
        self.taken(key, session, index).is_some()
    }

    /// Whether the lease of this ownership may still be valid: its holder renews its session
    /// and has not heard. It gets the time to tell from `runs_since` on.
    pub(super) fn may_be_unheard(
        &self,
        now: Moment,
        runs_since: Moment,
        (key, session, index): (&Key, &SessionId, u64),
    ) -> bool {
        self.taken(key, session, index).is_some_and(|taken| {
            let has_told = |at: Moment| now.since(at.max(runs_since)) > TELL_LIMIT;
            taken.is_renewed && !taken.heard_at.is_some_and(has_told)
        })
    }

    fn taken(&self, key: &Key, session: &SessionId, index: u64) -> Option<&Taken> {
        if self.taken.is_empty() {
            return None;
        }
        self.taken.get(&(key.clone(), session.clone())).filter(|taken| taken.index >= index)
    }

    /// The session, if locks were taken away from it, and the index of the last taking.
    pub(super) fn robbed(&self, session: &SessionId) -> Option<(SessionId, u64)> {
        let its = self.taken.iter().filter(|((_, victim), _)| victim == session);
        let last = its.map(|(_, taken)| taken.kept_at).max()?;
        Some((session.clone(), last))
    }

    /// Notes an answered renewal that was sent after the taking at this index.
    fn renewed(&mut self, session: &SessionId, last: u64) {
        for ((_, victim), taken) in &mut self.taken {
            taken.is_renewed |= victim == session && taken.kept_at <= last;
        }
    }

    /// Notes what a read showed to the process of this session.
    fn heard(&mut self, now: Moment, session: &SessionId, shows: impl Fn(&Key, u64) -> bool) {
        for ((key, victim), taken) in &mut self.taken {
            if victim == session && shows(key, taken.kept_at) {
                taken.heard_at.get_or_insert(now);
            }
        }
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
        let taken = Taken { index, kept_at, is_renewed: false, heard_at: None };
        self.takeovers.taken.insert((key.clone(), victim), taken);
        self.last_arrival = self.last_arrival.max(self.now + keeps);
        let how = ReleaseHow::Keep { value, flags };
        let release = Release { key: key.clone(), session: keeper, index: kept_at, how };
        self.after(keeps, Event::Operator(Act::GiveUp(release)));
    }

    /// Notes an answer that tells a process that its lock was taken away, or lets it go on
    /// believing.
    pub(super) fn note_news_of_takeovers(&mut self, exchange: &Exchange, fact: &Fact) {
        if let Fact::Session(session::Event::Renewed { answer: Renewed::Alive { .. }, .. }) = fact
            && let Some((session, last)) = &exchange.robbed
        {
            self.takeovers.renewed(session, *last);
        }
        let host = &self.processes[exchange.process];
        let is_read = exchange.part == Part::Watch(host.watch_number);
        let Some(session) = host.live_session().filter(|_| is_read) else { return };
        match (&exchange.question, fact) {
            (
                Question::Watch { ask, .. },
                Fact::Watch(watch::Event::Seen {
                    answer: Seen::Found { index, .. } | Seen::Missing { index },
                    ..
                }),
            ) => {
                self.takeovers.heard(self.now, session, |key, at| ask.key == *key && *index >= at);
            }
            (
                Question::Prefix { ask, .. },
                Fact::Watch(watch::Event::Listed { answer: Listed::Found { index, .. }, .. }),
            ) => {
                let shows = |key: &Key, at| key.as_str().starts_with(&*ask.prefix) && *index >= at;
                self.takeovers.heard(self.now, session, shows);
            }
            _ => {}
        }
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
