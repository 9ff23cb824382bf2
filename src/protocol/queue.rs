//! Which caller of this process has the key.
//!
//! Consul knows only the process: it would say yes to two callers of one
//! session. The queue gives the process's ownership to one caller at a time,
//! first come first served, and passes it on locally for a bounded time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::cell::DeadlineCell;
use crate::{
    clock::Moment,
    error::Error,
    key::Key,
    ownership::{Holder, LossReason, Released},
    token::FencingToken,
};

/// Names one call: an acquisition, and the lease that it may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// For how long a caller is willing to wait for another holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until it goes away.
    Unlimited,
}

/// What the callers want of the process's place in Consul.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// A caller has the ownership, or is to be given it without a new one.
    pub(crate) keep: bool,
    /// How many callers would take an ownership if it came now.
    pub(crate) contending: usize,
    /// At least one of those waits for a holder to go.
    pub(crate) patient: bool,
    /// At least one of those does not.
    pub(crate) impatient: bool,
    /// Who holds the key is to be known, whether or not anybody contends.
    pub(crate) follow: bool,
    /// How often that has begun: who follows anew has been told nothing.
    pub(crate) followings: u64,
}

impl Demand {
    pub(crate) fn wants(self) -> bool {
        self.contending > 0
    }
}

/// Why the key could not be had so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Held(Box<Holder>),
    Delayed {
        remaining: Option<Duration>,
    },
    /// The key exists with other flags than our locks have.
    Foreign {
        flags: u64,
    },
    Trouble(Error),
}

impl Obstacle {
    /// The error of a request for `key` that it ends.
    pub(crate) fn into_error(self, key: &Key) -> Error {
        let key = key.clone();
        match self {
            Self::Held(holder) => Error::Held { key, holder },
            Self::Delayed { remaining } => Error::LockDelay { key, remaining },
            Self::Foreign { flags } => Error::FlagConflict { key, found: flags },
            Self::Trouble(error) => error,
        }
    }
}

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The caller has the key from now on.
    Grant { call: CallId, token: FencingToken },
    /// The caller will not get it.
    Refuse { call: CallId, obstacle: Obstacle },
    /// The caller's lease is over by its own release.
    Ended { call: CallId },
    /// The caller's lease is over; the reason is being asked for.
    Revoked { call: CallId },
    /// The caller's lease is over for that reason.
    Lost { call: CallId, reason: LossReason },
    /// The answer to the caller's release.
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
    /// The caller that has it.
    current: Option<CallId>,
    /// It is on its way back to Consul and is given to nobody any more.
    ending: bool,
    /// Its end has been told.
    told: bool,
    cell: Arc<DeadlineCell>,
    /// This process, as a holder.
    holder: Box<Holder>,
}

/// How an ownership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A caller lost its lease with it.
    Lost(FencingToken),
    /// Its last owner had given it back before.
    Released(FencingToken),
}

/// How long, and how often, ownership passes from caller to caller before other
/// processes get their turn.
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

/// The queue machine of one key.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In the order of their calls.
    waiting: VecDeque<(CallId, Patience)>,
    /// How many of them do not wait for a holder.
    impatient: usize,
    owned: Option<Owned>,
    /// Releases whose confirmation waits for Consul's.
    releases: Vec<CallId>,
    obstacle: Option<Obstacle>,
    hand_over: HandOver,
    calls: u64,
    /// The index at which the key was last owned here.
    last_index: u64,
}

impl Queue {
    /// How many callers wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits for, has or releases the key.
    pub(crate) fn is_vacant(&self) -> bool {
        self.waiting.is_empty() && self.owned.is_none() && self.releases.is_empty()
    }

    /// The caller that is next, or has the key.
    pub(crate) fn front(&self) -> Option<CallId> {
        self.waiting.front().map(|(call, _)| *call)
    }

    /// Why the key could not be had so far.
    pub(crate) fn obstacle(&self) -> Option<&Obstacle> {
        self.obstacle.as_ref()
    }

    /// The token of the present ownership, as it was won.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        let owned = self.owned.as_ref().filter(|owned| !owned.ending)?;
        FencingToken::new(owned.index, owned.sequence)
    }

    /// This process, while it owns the key.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.owned.as_ref().map(|owned| &*owned.holder)
    }

    /// The index at which a caller was last granted the key.
    pub(crate) fn last_index(&self) -> u64 {
        self.last_index
    }

    /// What the callers want.
    pub(crate) fn demand(&self) -> Demand {
        Demand {
            keep: self.owned.as_ref().is_some_and(|owned| !owned.ending),
            contending: self.waiting.len(),
            patient: self.waiting.len() > self.impatient,
            impatient: self.impatient > 0,
            ..Demand::default()
        }
    }

    /// A caller asks for the key.
    pub(crate) fn enter(&mut self, patience: Patience, effects: &mut Vec<Effect>) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        self.waiting.push_back((call, patience));
        self.impatient += usize::from(patience == Patience::None);
        self.refuse_impatient_behind_a_lease(effects);
        self.poke_unless_lent(effects);
        call
    }

    /// While a caller has the key nothing is done for those behind it; its end
    /// makes it known that they are there.
    fn poke_unless_lent(&self, effects: &mut Vec<Effect>) {
        let lent = self.owned.as_ref().is_some_and(|it| it.current.is_some() && !it.ending);
        if !lent {
            effects.push(Effect::Poke);
        }
    }

    /// Who does not wait for a holder does not wait for one of this process.
    fn refuse_impatient_behind_a_lease(&mut self, effects: &mut Vec<Effect>) {
        if self.impatient == 0 {
            return;
        }
        if let Some(owned) = self.owned.as_ref().filter(|owned| owned.current.is_some()) {
            let obstacle = Obstacle::Held(owned.holder.clone());
            self.refuse(|patience| patience == Patience::None, &obstacle, effects);
        }
    }

    /// A caller goes away before it was granted the key.
    pub(crate) fn leave(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        let place = self.waiting.binary_search_by_key(&call, |(waiting, _)| *waiting);
        if let Some((_, patience)) = place.ok().and_then(|place| self.waiting.remove(place)) {
            self.impatient -= usize::from(patience == Patience::None);
            self.poke_unless_lent(effects);
        }
    }

    /// A caller gives its lease back. The lease is over with this call; whether
    /// Consul knows is told by [`Effect::Confirm`] if `confirm` is set.
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
        let valid = owned.cell.is_valid(now);
        // Over before its owner let it go, and not told yet: it stays with its caller until it is
        // told as a loss, before anything is done about it. No reply tells it instead.
        if !confirm && (owned.ending || !valid) {
            return;
        }
        owned.current = None;
        effects.push(Effect::Ended { call });
        if valid && self.pass_on(now, effects) {
            if confirm {
                effects.push(Effect::Confirm { call, released: Released::Confirmed });
            }
            return;
        }
        if let Some(owned) = &mut self.owned {
            owned.ending = true;
        }
        if confirm && valid {
            self.releases.push(call);
        } else if confirm {
            let released = Released::AlreadyLost(LossReason::DeadlinePassed);
            effects.push(Effect::Confirm { call, released });
        }
        effects.push(Effect::Poke);
    }

    /// Gives the ownership to the next caller, within the bounds of fairness.
    fn pass_on(&mut self, now: Moment, effects: &mut Vec<Effect>) -> bool {
        let Some(owned) = &mut self.owned else { return false };
        let bounded =
            now.since(owned.since) < self.hand_over.longest && owned.sequence < self.hand_over.most;
        if !bounded || owned.ending || self.waiting.is_empty() {
            return false;
        }
        owned.sequence += 1;
        self.grant(effects)
    }

    /// Grants the present ownership to the first in the queue.
    fn grant(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(owned) = &mut self.owned else { return false };
        let Some(token) = FencingToken::new(owned.index, owned.sequence) else { return false };
        let Some((call, patience)) = self.waiting.pop_front() else { return false };
        self.impatient -= usize::from(patience == Patience::None);
        owned.current = Some(call);
        effects.push(Effect::Grant { call, token });
        self.refuse_impatient_behind_a_lease(effects);
        true
    }

    /// This process owns the key in Consul, won at `index`. Returns whether a
    /// caller took it.
    pub(crate) fn owned(
        &mut self,
        now: Moment,
        index: u64,
        cell: Arc<DeadlineCell>,
        holder: Box<Holder>,
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
            told: false,
            cell,
            holder,
        });
        if self.grant(effects) {
            return true;
        }
        self.owned = None;
        effects.push(Effect::Poke);
        false
    }

    /// The ownership is over; why is still being asked.
    pub(crate) fn revoke(&mut self, effects: &mut Vec<Effect>) {
        if let Some(owned) = &mut self.owned {
            owned.ending = true;
            if let Some(call) = owned.current {
                effects.push(Effect::Revoked { call });
            }
        }
    }

    /// The ownership is over, other than by release.
    pub(crate) fn lost(&mut self, reason: LossReason, effects: &mut Vec<Effect>) -> Option<End> {
        for call in self.releases.drain(..) {
            effects.push(Effect::Confirm { call, released: Released::AlreadyLost(reason) });
        }
        let owned = self.owned.take()?;
        if let Some(call) = owned.current {
            effects.push(Effect::Lost { call, reason });
        }
        if owned.told {
            return None;
        }
        let token = FencingToken::new(owned.index, owned.sequence)?;
        Some(if owned.current.is_some() { End::Lost(token) } else { End::Released(token) })
    }

    /// Why the present lease has ended, if it has, other than by its owner's release.
    /// A key that is not ours any more counts as released by force until it is known
    /// why.
    pub(crate) fn overdue(&self, now: Moment) -> Option<LossReason> {
        let owned = self.owned.as_ref().filter(|owned| owned.current.is_some())?;
        if !owned.cell.is_valid(now) {
            return owned.cell.ended();
        }
        owned.ending.then_some(LossReason::ForceReleased)
    }

    /// The present lease is lost, which is told elsewhere, and the key is to be given
    /// back. Returns who had it, by which token.
    pub(crate) fn surrender(
        &mut self,
        effects: &mut Vec<Effect>,
    ) -> Option<(CallId, FencingToken)> {
        let owned = self.owned.as_mut()?;
        let token = FencingToken::new(owned.index, owned.sequence)?;
        let call = owned.current.take()?;
        owned.ending = true;
        owned.told = true;
        effects.push(Effect::Poke);
        Some((call, token))
    }

    /// Consul has the key back.
    pub(crate) fn released(&mut self, effects: &mut Vec<Effect>) -> Option<End> {
        for call in self.releases.drain(..) {
            effects.push(Effect::Confirm { call, released: Released::Confirmed });
        }
        let owned = self.owned.take()?;
        if let Some(call) = owned.current {
            // Passed its deadline, and was dropped by its owner before anybody noticed.
            effects.push(Effect::Lost { call, reason: LossReason::DeadlinePassed });
        }
        if owned.told {
            return None;
        }
        let token = FencingToken::new(owned.index, owned.sequence)?;
        Some(if owned.current.is_some() { End::Lost(token) } else { End::Released(token) })
    }

    /// Something stands in the way: who does not wait is told, who waits may be
    /// told when its time is over.
    pub(crate) fn obstructed(&mut self, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        self.refuse(|patience| patience == Patience::None, &obstacle, effects);
        self.obstacle = Some(obstacle);
    }

    /// The key cannot be had, however long anybody waits.
    pub(crate) fn failed(&mut self, obstacle: &Obstacle, effects: &mut Vec<Effect>) {
        self.refuse(|_| true, obstacle, effects);
    }

    fn refuse(
        &mut self,
        whom: impl Fn(Patience) -> bool,
        obstacle: &Obstacle,
        effects: &mut Vec<Effect>,
    ) {
        let before = self.waiting.len();
        self.waiting.retain(|(call, patience)| {
            let refused = whom(*patience);
            if refused {
                effects.push(Effect::Refuse { call: *call, obstacle: obstacle.clone() });
            }
            !refused
        });
        if self.waiting.len() != before {
            self.impatient =
                self.waiting.iter().filter(|(_, patience)| *patience == Patience::None).count();
            self.poke_unless_lent(effects);
        }
    }
}

#[cfg(test)]
mod tests;
