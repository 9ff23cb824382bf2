//! The queue of this process's callers for one key.
//!
//! Consul sees only the session: it would grant the key to two callers of one
//! session. The queue grants the process's ownership to one caller at a time, first
//! come, first served, and hands it over locally for a bounded time.

mod line;

use std::{sync::Arc, time::Duration};

#[cfg(test)]
use super::mutation::Mutation;
use super::{cell::DeadlineCell, gather::SetId};
use crate::{
    clock::Moment,
    error::Error,
    key::Key,
    ownership::{Holder, LossReason, Released},
    token::FencingToken,
};

use line::Line;
pub(crate) use line::{CallId, Patience};

/// The callers' demand: what the lock machine must do in Consul.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Keep the ownership: a caller has it, or will be granted it.
    pub(crate) keep: bool,
    /// The number of waiting callers.
    pub(crate) contending: usize,
    /// At least one of them waits for another holder.
    pub(crate) patient: bool,
    /// At least one of them does not wait for another holder.
    pub(crate) impatient: bool,
    /// The waiting callers all want the key only with other keys.
    pub(crate) sets_only: bool,
    /// Follow the key's holder, whether or not anybody contends.
    pub(crate) follow: bool,
    /// Bumped when following restarts, since new followers know nothing.
    pub(crate) followings: u64,
    /// The owner has a write to send.
    pub(crate) write: bool,
}

impl Demand {
    pub(crate) fn wants(self) -> bool {
        self.contending > 0
    }
}

/// Why the key could not be acquired so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Held(Box<Holder>),
    Delayed {
        remaining: Option<Duration>,
    },
    /// The key exists with other flags than those of our locks.
    Foreign {
        flags: u64,
    },
    /// Consul, or a proxy before it, refuses to read a key of this name.
    NameRefused {
        why: String,
    },
    /// The key is a semaphore with another limit.
    LimitDiffers {
        asked: u32,
        found: u64,
    },
    /// The key has a semaphore's flags, but not its content.
    NoSemaphore {
        why: String,
    },
    Trouble(Error),
}

impl Obstacle {
    /// The error of a request for `key` that this obstacle ends.
    pub(crate) fn into_error(self, key: &Key) -> Error {
        let key = key.clone();
        match self {
            Self::Held(holder) => Error::Held { key, holder },
            Self::Delayed { remaining } => Error::LockDelay { key, remaining },
            Self::Foreign { flags } => Error::FlagConflict { key, found: flags },
            Self::NameRefused { why } => Error::NameRefused { key, why },
            Self::LimitDiffers { asked, found } => Error::LimitConflict { key, asked, found },
            Self::NoSemaphore { why } => Error::NoSemaphore { key, why },
            Self::Trouble(error) => error,
        }
    }
}

/// The effects of a step, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The caller owns the key from now on.
    Grant { call: CallId, token: FencingToken },
    /// The caller will not be granted the key.
    Refuse { call: CallId, obstacle: Obstacle },
    /// The caller's lease has ended by its release.
    Ended { call: CallId },
    /// The caller's lease has ended; its reason is still unknown.
    Revoked { call: CallId },
    /// The caller's lease was lost.
    Lost { call: CallId, reason: LossReason },
    /// The reply to the caller's release.
    Confirm { call: CallId, released: Released },
    /// The demand has changed.
    Poke,
}

/// This process's ownership of the key in Consul.
#[derive(Debug)]
struct Owned {
    index: u64,
    since: Moment,
    sequence: u16,
    /// The caller that has the ownership.
    current: Option<CallId>,
    /// The ownership is being released or has ended; it is granted to nobody.
    ending: bool,
    /// The end was already reported.
    reported: bool,
    /// A write under it was sent, and may reach Consul late. Consul cannot tell two callers
    /// of one ownership apart, so it is not handed over.
    written: bool,
    cell: Arc<DeadlineCell>,
    /// This process, as a holder.
    holder: Box<Holder>,
}

/// How an ownership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A caller lost its lease.
    Lost(FencingToken),
    /// The last caller had already released it.
    Released(FencingToken),
}

/// The limits on local hand-overs, after which other processes get a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    pub(crate) longest: Duration,
    pub(crate) most: u16,
}

impl Default for HandOver {
    fn default() -> Self {
        Self { longest: Duration::from_millis(50), most: 50_000 }
    }
}

impl HandOver {
    /// Each caller gets an ownership of its own.
    pub(crate) const NONE: Self = Self { longest: Duration::ZERO, most: 0 };
}

/// The queue machine of one key.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Line,
    owned: Option<Owned>,
    /// The callers whose release Consul has not confirmed yet.
    releases: Vec<CallId>,
    obstacle: Option<Obstacle>,
    hand_over: HandOver,
    calls: u64,
    /// The index at which this process last acquired the key.
    last_index: u64,
}

impl Queue {
    pub(crate) fn new(hand_over: HandOver) -> Self {
        Self { hand_over, ..Self::default() }
    }

    /// The number of waiting callers.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits for, owns or releases the key.
    pub(crate) fn is_vacant(&self) -> bool {
        self.waiting.is_empty() && self.owned.is_none() && self.releases.is_empty()
    }

    /// The waiting callers.
    pub(crate) fn line(&self) -> &Line {
        &self.waiting
    }

    /// Why the key could not be acquired so far.
    pub(crate) fn obstacle(&self) -> Option<&Obstacle> {
        self.obstacle.as_ref()
    }

    /// The token of the current grant.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        let owned = self.owned.as_ref().filter(|owned| !owned.ending)?;
        FencingToken::new(owned.index, owned.sequence)
    }

    /// This process as a holder, while it owns the key.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.owned.as_ref().map(|owned| &*owned.holder)
    }

    /// The index at which a caller was last granted the key.
    pub(crate) fn last_index(&self) -> u64 {
        self.last_index
    }

    /// The callers' demand.
    pub(crate) fn demand(&self) -> Demand {
        Demand {
            keep: self.owned.as_ref().is_some_and(|owned| !owned.ending),
            contending: self.waiting.len(),
            patient: self.waiting.len() > self.waiting.impatient(),
            impatient: self.waiting.impatient() > 0,
            sets_only: self.waiting.sets_only(),
            ..Demand::default()
        }
    }

    /// Adds a caller.
    pub(crate) fn enter(&mut self, patience: Patience, effects: &mut Vec<Effect>) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        self.waiting.push(call, patience);
        self.refuse_impatient_behind_a_lease(effects);
        self.poke_unless_granted(effects);
        call
    }

    /// Pokes, unless a caller has the key: then the waiting callers need nothing until
    /// its lease ends.
    fn poke_unless_granted(&self, effects: &mut Vec<Effect>) {
        let granted = self.owned.as_ref().is_some_and(|it| it.current.is_some() && !it.ending);
        if !granted {
            effects.push(Effect::Poke);
        }
    }

    /// Refuses callers that do not wait for another holder if a caller of this process
    /// has the key.
    fn refuse_impatient_behind_a_lease(&mut self, effects: &mut Vec<Effect>) {
        if self.waiting.impatient() == 0 {
            return;
        }
        if let Some(owned) = self.owned.as_ref().filter(|owned| owned.current.is_some()) {
            let obstacle = Obstacle::Held(owned.holder.clone());
            self.refuse(|patience| patience == Patience::None, &obstacle, effects);
        }
    }

    /// Removes a caller that was not granted the key.
    pub(crate) fn leave(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        if self.waiting.remove(call) {
            self.poke_unless_granted(effects);
        }
    }

    /// A caller ends its lease, which ends with this call. If `confirm` is set,
    /// [`Effect::Confirm`] replies once the outcome is known.
    pub(crate) fn end(
        &mut self,
        now: Moment,
        call: CallId,
        confirm: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(owned) = self.owned.as_mut().filter(|owned| owned.current == Some(call)) else {
            return;
        };
        // Why the lease was over before this call, if it was.
        let ended = (!owned.cell.is_valid(now))
            .then(|| owned.cell.ended().unwrap_or(LossReason::DeadlinePassed));
        // A lease that expired before this drop stays assigned so that it is reported as a
        // loss; a drop has no reply.
        if !confirm && (owned.ending || ended.is_some()) {
            return;
        }
        owned.current = None;
        effects.push(Effect::Ended { call });
        if ended.is_none() && self.hand_over(now, effects) {
            if confirm {
                effects.push(Effect::Confirm { call, released: Released::Confirmed });
            }
            return;
        }
        if let Some(owned) = &mut self.owned {
            owned.ending = true;
        }
        match ended {
            Some(reason) if confirm => {
                let released = Released::AlreadyLost(reason);
                effects.push(Effect::Confirm { call, released });
            }
            None if confirm => self.releases.push(call),
            _ => {}
        }
        effects.push(Effect::Poke);
    }

    /// Hands the ownership over to the next caller that wants the key alone, within the
    /// limits of fairness.
    fn hand_over(&mut self, now: Moment, effects: &mut Vec<Effect>) -> bool {
        let next = self.waiting.next_alone(now);
        #[cfg(test)]
        let next = if Mutation::SetHandedOneKey.is_chosen() { Some(0) } else { next };
        let Some(owned) = &mut self.owned else { return false };
        let bounded =
            now.since(owned.since) < self.hand_over.longest && owned.sequence < self.hand_over.most;
        let written = owned.written;
        #[cfg(test)]
        let written = written && !Mutation::WrittenHandedOver.is_chosen();
        if !bounded || written || owned.ending || self.waiting.is_empty() {
            return false;
        }
        let Some(place) = next else { return false };
        owned.sequence += 1;
        self.grant(place, effects)
    }

    /// Grants the current ownership to the caller at `place`.
    fn grant(&mut self, place: usize, effects: &mut Vec<Effect>) -> bool {
        let Some(owned) = &self.owned else { return false };
        let Some(token) = FencingToken::new(owned.index, owned.sequence) else { return false };
        let Some(call) = self.waiting.take(place) else { return false };
        if let Some(owned) = &mut self.owned {
            owned.current = Some(call);
        }
        effects.push(Effect::Grant { call, token });
        self.refuse_impatient_behind_a_lease(effects);
        true
    }

    /// This process acquired the key in Consul at `index`, for a set if `set` is given.
    /// Returns whether a caller took the ownership.
    pub(crate) fn owned(
        &mut self,
        now: Moment,
        index: u64,
        cell: Arc<DeadlineCell>,
        holder: Box<Holder>,
        set: Option<SetId>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        self.obstacle = None;
        self.last_index = index;
        self.owned = Some(Owned {
            index,
            since: now,
            sequence: 0,
            current: None,
            ending: false,
            reported: false,
            written: false,
            cell,
            holder,
        });
        let for_set = set.and_then(|set| self.waiting.place_of(set));
        let place = for_set.or_else(|| self.waiting.first_alone());
        if place.is_some_and(|place| self.grant(place, effects)) {
            return true;
        }
        self.owned = None;
        effects.push(Effect::Poke);
        false
    }

    /// A write under the ownership is sent.
    pub(crate) fn write_sent(&mut self) {
        if let Some(owned) = &mut self.owned {
            owned.written = true;
        }
    }

    /// The value of the owned key is this from now on.
    pub(crate) fn value_written(&mut self, value: Arc<[u8]>) {
        if let Some(owned) = &mut self.owned {
            owned.holder.value = value;
        }
    }

    /// The ownership has ended; its reason is still unknown.
    pub(crate) fn revoke(&mut self, effects: &mut Vec<Effect>) {
        if let Some(owned) = &mut self.owned {
            owned.ending = true;
            if let Some(call) = owned.current {
                effects.push(Effect::Revoked { call });
            }
        }
    }

    /// The ownership has ended, other than by release.
    pub(crate) fn lost(&mut self, reason: LossReason, effects: &mut Vec<Effect>) -> Option<End> {
        for call in self.releases.drain(..) {
            effects.push(Effect::Confirm { call, released: Released::AlreadyLost(reason) });
        }
        let owned = self.owned.take()?;
        if let Some(call) = owned.current {
            effects.push(Effect::Lost { call, reason });
        }
        if owned.reported {
            return None;
        }
        let token = FencingToken::new(owned.index, owned.sequence)?;
        Some(if owned.current.is_some() { End::Lost(token) } else { End::Released(token) })
    }

    /// Why the current lease has ended, if it has ended other than by its owner's
    /// release. Until the reason is known, a key that is no longer ours counts as
    /// released by force.
    pub(crate) fn overdue(&self, now: Moment) -> Option<LossReason> {
        let owned = self.owned.as_ref().filter(|owned| owned.current.is_some())?;
        if !owned.cell.is_valid(now) {
            return owned.cell.ended();
        }
        owned.ending.then_some(LossReason::ForceReleased)
    }

    /// Takes the lost lease from its caller and starts releasing the key. Returns the
    /// caller and its token; the contest reports the loss.
    pub(crate) fn surrender(
        &mut self,
        effects: &mut Vec<Effect>,
    ) -> Option<(CallId, FencingToken)> {
        let owned = self.owned.as_mut()?;
        let token = FencingToken::new(owned.index, owned.sequence)?;
        let call = owned.current.take()?;
        owned.ending = true;
        owned.reported = true;
        effects.push(Effect::Poke);
        Some((call, token))
    }

    /// Consul has confirmed the release.
    pub(crate) fn released(&mut self, effects: &mut Vec<Effect>) -> Option<End> {
        for call in self.releases.drain(..) {
            effects.push(Effect::Confirm { call, released: Released::Confirmed });
        }
        let owned = self.owned.take()?;
        if let Some(call) = owned.current {
            // The deadline passed, and the owner dropped the lease, before anybody noticed.
            let reason = owned.cell.ended().unwrap_or(LossReason::DeadlinePassed);
            effects.push(Effect::Lost { call, reason });
        }
        if owned.reported {
            return None;
        }
        let token = FencingToken::new(owned.index, owned.sequence)?;
        Some(if owned.current.is_some() { End::Lost(token) } else { End::Released(token) })
    }

    /// An obstacle prevents the acquisition for now. Refuses the callers that do not
    /// wait; keeps it as the reason for callers that time out.
    pub(crate) fn obstructed(&mut self, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        self.refuse(|patience| patience == Patience::None, &obstacle, effects);
        self.obstacle = Some(obstacle);
    }

    /// The key cannot be acquired, however long a caller waits. Refuses all callers.
    pub(crate) fn failed(&mut self, obstacle: &Obstacle, effects: &mut Vec<Effect>) {
        self.refuse(|_| true, obstacle, effects);
    }

    fn refuse(
        &mut self,
        applies: impl Fn(Patience) -> bool,
        obstacle: &Obstacle,
        effects: &mut Vec<Effect>,
    ) {
        let refused = self.waiting.take_all(applies);
        if !refused.is_empty() {
            let refuse = |call| Effect::Refuse { call, obstacle: obstacle.clone() };
            effects.extend(refused.into_iter().map(refuse));
            self.poke_unless_granted(effects);
        }
    }
}

#[cfg(test)]
mod tests;
