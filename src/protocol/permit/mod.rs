//! The permit machine of one semaphore: the lock machine, with a semaphore's questions.
//!
//! ```text
//!   read, watch ──► roster ──► "ours", "free" or "held" ──► lock machine
//!                     ▲                                        │
//!   join, leave ◄─────┴──────────── lock, release ◄────────────┘
//!
//!   list ──► roll: who has ended, and since when ──► prune
//! ```
//!
//! A permit has the states of a lock: try, wait, own, lose, release, and attempts of
//! unknown outcome that the fence voids. This machine owns a [`Lock`] and translates. The
//! semaphore's entry is shown to it as held by our session if we are among the holders, as
//! free if there is room, and otherwise as held by another. A lock attempt becomes the
//! addition of our session to the holders, and a release its removal, each under the index
//! of the entry that was read.
//!
//! Consul's lock-delay does not protect permits. The machine therefore lists the holders'
//! entries while it waits, and removes a holder only after it has itself seen that
//! holder's session ended for its whole lock-delay. Until then the holder's lease may be
//! valid. An ended holder is watched even if nobody waits any more, so that callers who do
//! not wait get the permit in the end.

mod listing;
mod roll;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use roll::Roll;

use super::{
    Ticket, Tickets,
    backoff::Jitter,
    lock::{self, Lock},
    queue::{Demand, Obstacle},
    session::Notice,
};
use crate::{
    clock::Moment,
    consul::{
        fact::{Entry, Expect, Fence, Listed, Locked, Pruned, Released, Seen, SessionId},
        roster::{Roster, SEMAPHORE_FLAGS},
    },
    error::{Error, Step},
};

/// An input of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// An input of the lock machine.
    Lock(lock::Event),
    /// The answer to [`Effect::List`].
    Listed { ticket: Ticket, answer: Listed },
    /// The answer to [`Effect::Prune`].
    Pruned { ticket: Ticket, answer: Pruned },
}

impl From<lock::Event> for Event {
    fn from(event: lock::Event) -> Self {
        Self::Lock(event)
    }
}

/// An output of the machine.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Effect {
    /// An output of the lock machine, other than a lock or a release.
    Lock(lock::Effect),
    /// Add our session to the semaphore; answer with [`lock::Event::Locked`].
    Join { ticket: Ticket, session: SessionId, fence: Fence, expect: Expect, roster: Vec<u8> },
    /// Remove our session from the semaphore; answer with [`lock::Event::Released`].
    Leave { ticket: Ticket, session: SessionId, index: u64, own: Option<u64>, left: Roster },
    /// List all entries below the semaphore's prefix, from the leader.
    List { ticket: Ticket, prefix: Arc<str> },
    /// Remove these ended sessions, each with the index of its own entry.
    Prune { ticket: Ticket, index: u64, left: Roster, ended: Vec<(SessionId, Option<u64>)> },
}

impl From<lock::Effect> for Effect {
    fn from(effect: lock::Effect) -> Self {
        Self::Lock(effect)
    }
}

/// The semaphore's entry as last seen.
#[derive(Debug)]
enum Sight {
    Unknown,
    Missing,
    At {
        index: u64,
        roster: Roster,
        /// The bytes of the entry.
        value: Vec<u8>,
    },
}

/// The semaphore's entry with our session.
#[derive(Debug)]
struct Joined {
    session: SessionId,
    roster: Roster,
    /// The bytes of the entry.
    value: Vec<u8>,
    /// The entry named our session before, so our session's own entry may exist as well.
    is_repeated: bool,
}

/// The permit machine of one semaphore.
#[derive(Debug)]
pub(crate) struct Permit {
    lock: Lock,
    /// The path of the semaphore's entries, with a slash at its end.
    prefix: Arc<str>,
    limit: u32,
    demand: Demand,
    session: Option<(u64, SessionId)>,
    sight: Sight,
    /// Why nobody can join as the entry is, if so: it is not this semaphore's.
    unfit: Option<Obstacle>,
    /// The attempt to join in flight, and the entry that it writes.
    joining: Option<(Ticket, Joined)>,
    /// The index at which the last join created our session's own entry, until the first
    /// attempt to leave.
    own: Option<u64>,
    roll: Roll,
    listing: listing::Listing,
    /// Holders are listed until one listing that is asked at this moment or later: an ended
    /// session of ours may be among them, and a join of it may come late.
    look_until: Option<Moment>,
    jitter: Jitter,
    /// For questions that the lock machine does not know.
    tickets: Tickets,
}

/// Flags that no semaphore has.
const UNFIT: u64 = !SEMAPHORE_FLAGS;

impl Permit {
    /// Creates the machine of the semaphore below `prefix`. `seed` feeds the jitter.
    pub(crate) fn new(prefix: &str, limit: u32, seed: u64) -> Self {
        Self {
            lock: Lock::that_reads_first(SEMAPHORE_FLAGS, seed),
            prefix: prefix.into(),
            limit,
            demand: Demand::default(),
            session: None,
            sight: Sight::Unknown,
            unfit: None,
            joining: None,
            own: None,
            roll: Roll::default(),
            listing: listing::Listing::default(),
            look_until: None,
            jitter: Jitter::new(seed),
            tickets: Tickets::above_others(),
        }
    }

    /// The machine that has the states of the permit.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    #[cfg(test)]
    pub(crate) fn hold_steady(&mut self) {
        self.lock.hold_steady();
        self.jitter = Jitter::steady();
    }

    /// Nobody here uses the semaphore; the next caller may choose another limit.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Whether nothing is wanted, in flight or left to clean up.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock.is_quiet() && self.listing.is_over()
    }

    /// When a tick is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.lock.next_wakeup().into_iter().chain(self.listing.due()).min()
    }

    /// Processes an event and appends the resulting effects.
    pub(crate) fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Lock(event) => {
                if let Some(event) = self.seen(now, event) {
                    self.feed(now, event, effects);
                }
            }
            Event::Listed { ticket, answer } => self.listed(now, ticket, answer, effects),
            Event::Pruned { ticket, answer } => self.pruned(now, ticket, &answer),
        }
        self.list_if_due(now, effects);
    }

    /// Recovers after the death of the actor that ran this machine.
    pub(crate) fn recover(&mut self, now: Moment, floor: u64, effects: &mut Vec<Effect>) {
        (self.joining, self.own, self.sight) = (None, None, Sight::Unknown);
        self.demand = Demand::default();
        let is_due = self.keeps_listing() || !self.listing.is_over();
        self.listing.restart(is_due.then_some(now));
        let mut out = Vec::new();
        self.lock.recover(now, floor, &mut out);
        let mut answers = VecDeque::new();
        out.into_iter().for_each(|effect| self.translate(now, effect, &mut answers, effects));
        answers.into_iter().for_each(|answer| self.feed(now, answer, effects));
        self.list_if_due(now, effects);
    }

    /// Takes note of an event, and returns it as the lock machine must see it.
    fn seen(&mut self, now: Moment, event: lock::Event) -> Option<lock::Event> {
        use lock::Event;
        match &event {
            Event::Demand(demand) => self.demand = *demand,
            Event::Session(Notice::Opened(view)) => {
                self.session = Some((view.generation, view.id.clone()));
            }
            Event::Session(Notice::Closed { generation, .. }) => {
                if let Some((_, id)) = self.session.take_if(|(ours, _)| ours == generation)
                    && self.may_be_among(&id)
                {
                    // A join in flight may take effect after that.
                    self.look_for(id, now + LATE_JOIN);
                }
            }
            Event::Locked { ticket, answer } => {
                let asked = self.joining.take_if(|(joining, _)| joining == ticket);
                self.joined_at(now, asked.map(|(_, joined)| joined), answer);
            }
            Event::Released { .. } => self.sight = Sight::Unknown,
            Event::SessionSeen { ticket, answer } if self.roll.answered(*ticket, answer) => {
                return None;
            }
            _ => {}
        }
        Some(match event {
            Event::Read { ticket, answer } => Event::Read { ticket, answer: self.show(answer) },
            Event::Watched { ticket, answer } => {
                Event::Watched { ticket, answer: self.show(answer) }
            }
            other => other,
        })
    }

    /// Takes note of the answer to a join; `None` to one that was asked before the last.
    fn joined_at(&mut self, now: Moment, joined: Option<Joined>, answer: &Locked) {
        let Some(Joined { session, roster, value, is_repeated }) = joined else { return };
        (self.own, self.sight) = (None, Sight::Unknown);
        let &Locked::At(index) = answer else { return };
        if self.session.as_ref().is_some_and(|(_, ours)| *ours == session) {
            self.own = (!is_repeated).then_some(index);
            self.sight = Sight::At { index, roster, value };
        } else {
            // It took effect around the end of the session.
            self.look_for(session, now);
        }
    }

    /// Looks for this ended session of ours among the holders: now, and until a listing that is
    /// asked at `until` or later.
    fn look_for(&mut self, session: SessionId, until: Moment) {
        self.roll.ours_ended(session);
        self.look_until = self.look_until.max(Some(until));
        self.listing.soon();
    }

    /// Whether nothing of ours is in flight or to be looked for, which has the present limit.
    pub(crate) fn may_change_limit(&self) -> bool {
        self.lock.is_quiet() && self.joining.is_none() && self.look_until.is_none()
    }

    /// Whether our session may be among the holders.
    fn may_be_among(&self, session: &SessionId) -> bool {
        let is_seen =
            matches!(&self.sight, Sight::At { roster, .. } if roster.holders.contains(session));
        is_seen || self.joining.is_some() || !self.lock.is_quiet()
    }

    /// Shows the semaphore's entry as a lock: held by us, free, or held by another.
    fn show(&mut self, seen: Seen) -> Seen {
        let (entry, index) = match seen {
            Seen::Found { entry, index } => (entry, index),
            Seen::Missing { index } => {
                (self.sight, self.unfit) = (Sight::Missing, None);
                self.roll.clear();
                return Seen::Missing { index };
            }
            other => return other,
        };
        let shown = Entry { lock_index: 0, ..entry };
        let fit = self.fit(&shown);
        self.unfit = fit.as_ref().err().cloned();
        // If the entry names us, we have a permit, whatever limit or flags somebody wrote.
        let Some(roster) = fit.ok().or_else(|| self.roster_that_names_us(&shown.value)) else {
            self.sight = Sight::Unknown;
            let entry = Entry { session: None, flags: UNFIT, ..shown };
            return Seen::Found { entry, index };
        };
        self.roll.retain(&roster.holders);
        let session = match self.names_us(&roster) {
            Some(ours) => Some(ours.clone()),
            None if self.has_room(&roster) => None,
            None => roster.holders.first().cloned(),
        };
        self.sight = Sight::At { index: shown.modify_index, roster, value: shown.value.clone() };
        Seen::Found { entry: Entry { session, ..shown }, index }
    }

    /// Our session, if it is among the holders.
    fn names_us(&self, roster: &Roster) -> Option<&SessionId> {
        let ours = self.session.as_ref().map(|(_, id)| id);
        ours.filter(|id| roster.holders.contains(id))
    }

    fn roster_that_names_us(&self, value: &[u8]) -> Option<Roster> {
        let roster = Roster::parse(value).ok().flatten()?;
        self.names_us(&roster).is_some().then_some(roster)
    }

    fn has_room(&self, roster: &Roster) -> bool {
        roster.holders.len() < self.limit as usize
    }

    /// The roster in the entry, if it is this semaphore's.
    fn fit(&self, entry: &Entry) -> Result<Roster, Obstacle> {
        if entry.flags != SEMAPHORE_FLAGS {
            return Err(Obstacle::Foreign { flags: entry.flags });
        }
        let asked = self.limit;
        match Roster::parse(&entry.value) {
            Err(why) => Err(Obstacle::NoSemaphore { why }),
            Ok(None) => Ok(Roster::empty(asked)),
            Ok(Some(Roster { limit, .. })) if limit != u64::from(asked) => {
                Err(Obstacle::LimitDiffers { asked, found: limit })
            }
            Ok(Some(roster)) => Ok(roster),
        }
    }

    /// Passes an event to the lock machine and translates its effects.
    fn feed(&mut self, now: Moment, event: lock::Event, effects: &mut Vec<Effect>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut out = Vec::new();
            self.lock.handle(now, event, &mut out);
            out.into_iter().for_each(|effect| self.translate(now, effect, &mut events, effects));
        }
    }

    /// Translates an effect. If the entry was not seen as the effect requires, `answers`
    /// gets the answer at once, and the machine reads the entry.
    fn translate(
        &mut self,
        now: Moment,
        effect: lock::Effect,
        answers: &mut VecDeque<lock::Event>,
        effects: &mut Vec<Effect>,
    ) {
        match effect {
            lock::Effect::Lock { ticket, session, fence, expect } => {
                match self.joined(&session, expect) {
                    // Our session is among the holders of another limit. It leaves them first.
                    Some(_) if self.unfit.is_some() => {
                        let answer = Locked::Refused(String::new());
                        answers.push_back(lock::Event::Locked { ticket, answer });
                    }
                    Some(entry) => {
                        let roster = entry.value.clone();
                        self.joining = Some((ticket, entry));
                        effects.push(Effect::Join { ticket, session, fence, expect, roster });
                    }
                    None => {
                        answers.push_back(lock::Event::Locked { ticket, answer: Locked::Changed });
                    }
                }
            }
            lock::Effect::Release { ticket, session, index, .. } => match &self.sight {
                Sight::At { index: seen, roster, .. } if *seen == index => {
                    let left = roster.without([&session]);
                    // A second attempt follows a read of the entry, and ours may be missing.
                    let own = self.own.take();
                    effects.push(Effect::Leave { ticket, session, index, own, left });
                }
                _ => {
                    let answer = Released::FenceFailed;
                    answers.push_back(lock::Event::Released { ticket, answer });
                }
            },
            lock::Effect::Watch { ticket, after, .. } => {
                effects.push(lock::Effect::Watch { ticket, after, holder: None }.into());
            }
            // It is the list of holders.
            lock::Effect::ValueSeen(_) => {}
            lock::Effect::Failed(obstacle) => {
                // The entry was shown as foreign, or a join was refused above.
                let obstacle = match (obstacle, &self.unfit) {
                    (
                        Obstacle::Foreign { .. }
                        | Obstacle::Trouble(Error::Unavailable { step: Step::Lock, .. }),
                        Some(unfit),
                    ) => unfit.clone(),
                    (other, _) => other,
                };
                effects.push(lock::Effect::Failed(obstacle).into());
            }
            effect => {
                if let lock::Effect::Obstructed(Obstacle::Held(_)) = effect {
                    self.listing.by(now);
                }
                effects.push(effect.into());
            }
        }
    }

    /// The entry with our session, if the entry was seen as expected and has room for us.
    fn joined(&self, session: &SessionId, expect: Expect) -> Option<Joined> {
        let (mut roster, before) = match (expect, &self.sight) {
            (Expect::Missing, Sight::Missing) => (Roster::empty(self.limit), &[][..]),
            (Expect::Index(expected), Sight::At { index, roster, value })
                if *index == expected
                    && (self.has_room(roster) || roster.holders.contains(session)) =>
            {
                (roster.clone(), &value[..])
            }
            _ => return None,
        };
        let is_repeated = !roster.holders.insert(session.clone());
        let mut value = roster.to_bytes();
        // Consul gives an entry a new index, which is the token's, only if it changes.
        if value == before {
            value.push(b' ');
        }
        Some(Joined { session: session.clone(), roster, value, is_repeated })
    }
}

/// Interval at which the holders are listed while a caller waits.
const PERIOD: Duration = Duration::from_secs(2);
/// How long a join that was in flight at the end of its session may take to arrive, at an agent
/// that answers.
const LATE_JOIN: Duration = Duration::from_secs(3);
