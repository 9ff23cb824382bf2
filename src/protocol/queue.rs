//! The queue of this process's callers for one key.
//!
//! Consul sees only the session: it would grant the key to two callers of one
//! session. The queue grants the process's ownership to one caller at a time, first
//! come, first served, and hands it over locally for a bounded time.

mod demand;
mod line;
mod obstacle;
mod owned;

use std::sync::Arc;

#[cfg(test)]
use super::mutation::Mutation;
use super::{cell::DeadlineCell, gather::SetId};
use crate::{
    clock::Moment,
    ownership::{Holder, LossReason, Released},
    token::{Era, FencingToken},
};

use line::Line;
pub(crate) use line::{CallId, Patience};
use owned::Owned;
pub(crate) use owned::{End, HandOver};
pub(crate) use {demand::Demand, obstacle::Obstacle};

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

/// The queue machine of one key.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The era of the tokens.
    era: Era,
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
    pub(crate) fn new(era: Era, hand_over: HandOver) -> Self {
        Self { era, hand_over, ..Self::default() }
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
        self.owned.as_ref().filter(|owned| owned.granted().is_some())?.token()
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
            keep: self.is_granted(),
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
        if !self.is_granted() {
            effects.push(Effect::Poke);
        }
    }

    fn is_granted(&self) -> bool {
        self.owned.as_ref().is_some_and(|owned| owned.granted().is_some())
    }

    /// Refuses callers that do not wait for another holder if a caller of this process
    /// has the key.
    fn refuse_impatient_behind_a_lease(&mut self, effects: &mut Vec<Effect>) {
        if self.waiting.impatient() == 0 {
            return;
        }
        if let Some(owned) = self.owned.as_ref().filter(|owned| owned.caller().is_some()) {
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
        let Some(owned) = self.owned.as_mut().filter(|owned| owned.caller() == Some(call)) else {
            return;
        };
        // Why the lease was over before this call, if it was.
        let ended = owned.expired(now);
        let revoked = owned.granted().is_none();
        // A lease that expired before this drop stays assigned so that it is reported as a
        // loss; a drop has no reply.
        if !confirm && (revoked || ended.is_some()) {
            return;
        }
        owned.give_back();
        effects.push(Effect::Ended { call });
        if ended.is_none() && !revoked && self.hand_over(now, effects) {
            if confirm {
                effects.push(Effect::Confirm { call, released: Released::Confirmed });
            }
            return;
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
        let written = owned.written;
        #[cfg(test)]
        let written = written && !Mutation::WrittenHandedOver.is_chosen();
        let Some(place) = next.filter(|_| !self.waiting.is_empty()) else { return false };
        owned.pass_on(now, self.hand_over, written) && self.grant(place, effects)
    }

    /// Grants the current ownership to the caller at `place`.
    fn grant(&mut self, place: usize, effects: &mut Vec<Effect>) -> bool {
        let Some(owned) = &mut self.owned else { return false };
        let Some(token) = owned.token() else { return false };
        let Some(call) = self.waiting.take(place) else { return false };
        owned.grant(call);
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
        self.owned = Some(Owned::new(now, self.era, index, cell, holder));
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
        let revoked = self.owned.as_mut().and_then(Owned::revoke);
        effects.extend(revoked.map(|call| Effect::Revoked { call }));
    }

    /// The ownership has ended, other than by release.
    pub(crate) fn lost(&mut self, reason: LossReason, effects: &mut Vec<Effect>) -> Option<End> {
        self.over(|_| reason, Released::AlreadyLost(reason), effects)
    }

    /// Consul has confirmed the release.
    pub(crate) fn released(&mut self, effects: &mut Vec<Effect>) -> Option<End> {
        // If a caller still has it, the deadline passed, and the owner dropped the lease,
        // before anybody noticed.
        self.over(Owned::expiry, Released::Confirmed, effects)
    }

    /// The ownership is over: confirms the callers' releases. A caller that still has it
    /// lost it for `reason`.
    fn over(
        &mut self,
        reason: impl FnOnce(&Owned) -> LossReason,
        released: Released,
        effects: &mut Vec<Effect>,
    ) -> Option<End> {
        let confirm = |call| Effect::Confirm { call, released };
        effects.extend(self.releases.drain(..).map(confirm));
        let owned = self.owned.take()?;
        if let Some(call) = owned.caller() {
            effects.push(Effect::Lost { call, reason: reason(&owned) });
        }
        owned.end()
    }

    /// Why the current lease has ended, if it has ended other than by its owner's release.
    pub(crate) fn overdue(&self, now: Moment) -> Option<LossReason> {
        self.owned.as_ref()?.overdue(now)
    }

    /// Takes the lost lease from its caller and starts releasing the key. Returns the
    /// caller and its token; the contest reports the loss.
    pub(crate) fn surrender(
        &mut self,
        effects: &mut Vec<Effect>,
    ) -> Option<(CallId, FencingToken)> {
        let lost = self.owned.as_mut()?.surrender()?;
        effects.push(Effect::Poke);
        Some(lost)
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
