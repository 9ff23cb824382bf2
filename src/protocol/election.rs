//! The leader of a key, and this process's campaign for it.
//!
//! A campaign is a permanent caller: it waits in the key's queue like any other, keeps
//! the key as long as its lease lasts, and enters the queue again after a loss.
//!
//! ```text
//!              ┌───────────── enter ──────────────┐
//!              ▼                                  │
//!   enter ► Waiting ──granted──► Leading ──lost─► Deposed, until that is reported
//!              │  ▲                 │
//!      refused │  │ pause is over   │ resign
//!              ▼  │                 │
//!            Resting ◄──cool-down───┴───────────► no campaign
//! ```
//!
//! The end of a term is emitted before anything that follows from it, and nothing
//! follows before it was reported.

use std::time::Duration;

#[cfg(test)]
use super::mutation::Mutation;
use super::{backoff::backoff, queue::CallId};
use crate::{
    clock::Moment,
    ownership::{Holder, LossReason},
    token::FencingToken,
};

/// The effects of a step, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Enter the campaign into the queue, then call [`Election::entered`].
    Enter,
    /// This process leads from now on.
    Elected { token: FencingToken },
    /// This process no longer leads.
    Deposed { token: FencingToken, reason: LossReason },
    /// The holder of the key has changed.
    LeaderChanged { leader: Option<Box<Holder>> },
}

/// The state of a campaign when it resigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stood {
    /// It was in the queue, which it must leave.
    Waiting(CallId),
    /// It led: its lease must be released.
    Leading(CallId),
    /// It was neither in the queue nor leading.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// Out of the queue until that moment.
    Resting {
        until: Moment,
        /// The campaign was refused, and did not resign.
        refused: bool,
    },
    Waiting {
        call: CallId,
    },
    Leading {
        call: CallId,
        token: FencingToken,
    },
    /// The term was lost, which may not have been reported yet.
    Deposed,
}

#[derive(Debug)]
struct Campaign {
    number: u64,
    stance: Stance,
    /// The number of consecutive refusals.
    refusals: u32,
}

/// How long a refused campaign rests: the shortest and the longest time.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The election machine of one key.
#[derive(Debug, Default)]
pub(crate) struct Election {
    campaign: Option<Campaign>,
    campaigns: u64,
    observers: usize,
    /// How often following has started.
    followings: u64,
    /// The key's holder according to the last read from Consul.
    leader: Option<Box<Holder>>,
    /// This process has resigned and still holds the key.
    parting: bool,
    /// The number of changes of the leader, its value or our own term.
    changes: u64,
    stopped: bool,
}

impl Election {
    /// Whether this process campaigns or observes.
    pub(crate) fn is_followed(&self) -> bool {
        !self.stopped && (self.campaign.is_some() || self.observers > 0)
    }

    /// How often following has started.
    pub(crate) fn followings(&self) -> u64 {
        self.followings
    }

    /// The number of changes of the leader, its value or our own term.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The leader, if known.
    pub(crate) fn leader(&self) -> Option<&Holder> {
        self.leader.as_deref()
    }

    /// The number of the current campaign.
    pub(crate) fn campaign(&self) -> Option<u64> {
        self.campaign.as_ref().map(|campaign| campaign.number)
    }

    /// The token of the current term.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        match self.campaign.as_ref()?.stance {
            Stance::Leading { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Whether the call belongs to the campaign.
    pub(crate) fn is_caller(&self, asked: CallId) -> bool {
        self.campaign.as_ref().is_some_and(|campaign| match campaign.stance {
            Stance::Waiting { call } | Stance::Leading { call, .. } => call == asked,
            Stance::Resting { .. } | Stance::Deposed => false,
        })
    }

    /// When [`proceed`](Self::proceed) is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        match self.campaign.as_ref()?.stance {
            Stance::Resting { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Starts a campaign unless one is running. Returns the campaign's number.
    pub(crate) fn campaign_for(&mut self, now: Moment, effects: &mut Vec<Effect>) -> u64 {
        if let Some(campaign) = &self.campaign {
            return campaign.number;
        }
        self.followings += u64::from(!self.is_followed());
        self.campaigns += 1;
        let (number, stance) = (self.campaigns, Stance::Resting { until: now, refused: false });
        self.campaign = Some(Campaign { number, stance, refusals: 0 });
        effects.push(Effect::Enter);
        number
    }

    /// The campaign has entered the queue.
    pub(crate) fn entered(&mut self, call: CallId) {
        if let Some(campaign) = &mut self.campaign {
            campaign.stance = Stance::Waiting { call };
        }
    }

    /// The campaign's call was granted the key.
    pub(crate) fn granted(&mut self, token: FencingToken, effects: &mut Vec<Effect>) {
        if let Some(campaign) = &mut self.campaign
            && let Stance::Waiting { call } = campaign.stance
        {
            campaign.stance = Stance::Leading { call, token };
            campaign.refusals = 0;
            self.changes += 1;
            effects.push(Effect::Elected { token });
        }
    }

    /// The campaign's call was refused. The campaign tries again later: an operator may
    /// grant the right, or remove what is in the way.
    pub(crate) fn refused(&mut self, now: Moment) {
        if self.stopped {
            self.campaign = None;
        } else if let Some(campaign) = &mut self.campaign {
            let rest = backoff(SHORTEST_REST, campaign.refusals, LONGEST_REST);
            campaign.refusals += 1;
            campaign.stance = Stance::Resting { until: now + rest, refused: true };
        }
    }

    /// The campaign's lease was lost.
    pub(crate) fn lost(&mut self, reason: LossReason, effects: &mut Vec<Effect>) {
        if let Some(campaign) = &mut self.campaign
            && let Stance::Leading { token, .. } = campaign.stance
        {
            campaign.stance = Stance::Deposed;
            self.changes += 1;
            effects.push(Effect::Deposed { token, reason });
        }
        if self.stopped {
            self.campaign = None;
        }
    }

    /// All effects so far were reported: re-enters the queue after a loss or a rest.
    pub(crate) fn proceed(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Some(campaign) = &self.campaign {
            match campaign.stance {
                Stance::Deposed => effects.push(Effect::Enter),
                Stance::Resting { until, .. } if until <= now => effects.push(Effect::Enter),
                _ => {}
            }
        }
    }

    /// Ends the campaign with that number, or pauses it for `cool_down`. A current term
    /// ends.
    pub(crate) fn resign(
        &mut self,
        now: Moment,
        number: u64,
        cool_down: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) -> Stood {
        let Some(campaign) = self.campaign.as_mut().filter(|c| c.number == number) else {
            return Stood::Idle;
        };
        let (stood, before) = match campaign.stance {
            Stance::Resting { until, .. } => (Stood::Idle, until),
            Stance::Deposed => (Stood::Idle, now),
            Stance::Waiting { call } => (Stood::Waiting(call), now),
            Stance::Leading { call, token } => {
                self.changes += 1;
                self.parting = true;
                effects.push(Effect::Deposed { token, reason: LossReason::Resigned });
                (Stood::Leading(call), now)
            }
        };
        #[cfg(test)]
        let cool_down = match Mutation::CoolDownForgotten.is_chosen() {
            true => cool_down.map(|_| Duration::ZERO),
            false => cool_down,
        };
        match cool_down {
            Some(pause) => {
                campaign.stance =
                    Stance::Resting { until: before.max(now + pause), refused: false };
            }
            None => {
                self.campaign = None;
                self.forget_unless_followed();
            }
        }
        stood
    }

    /// Adds an observer.
    pub(crate) fn observe(&mut self) {
        self.followings += u64::from(!self.is_followed());
        self.observers += 1;
    }

    /// Removes an observer.
    pub(crate) fn unobserve(&mut self) {
        self.observers = self.observers.saturating_sub(1);
        self.forget_unless_followed();
    }

    /// Forgets the leader if nobody follows it. Keeps it until our resignation has been
    /// reported.
    fn forget_unless_followed(&mut self) {
        if !self.is_followed() && !self.parting {
            self.leader = None;
        }
    }

    /// The key's holder was read or has changed.
    pub(crate) fn seen(&mut self, holder: Option<&Holder>, effects: &mut Vec<Effect>) {
        if !self.is_followed() && !self.parting {
            return;
        }
        let session = |holder: &Holder| holder.session.clone();
        let same = self.leader().map(session) == holder.map(session);
        let value = |holder: &Holder| holder.value.clone();
        if same && self.leader().map(value) != holder.map(value) {
            self.changes += 1;
        }
        self.leader = holder.cloned().map(Box::new);
        // The same session may now be known with its name and node; that is no change.
        if !same {
            self.parting = false;
            self.changes += 1;
            effects.push(Effect::LeaderChanged { leader: self.leader.clone() });
            if holder.is_none() {
                self.try_again();
            }
        }
    }

    /// What was in the way may have gone with the holder, so a refused campaign rests no longer.
    fn try_again(&mut self) {
        if let Some(Campaign { stance: Stance::Resting { until, refused: true }, .. }) =
            &mut self.campaign
        {
            *until = Moment::default();
        }
    }

    /// Stops campaigning and following. A current term is lost next.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.parting = false;
        self.changes += 1;
        self.leader = None;
        if self.token().is_none() {
            self.campaign = None;
        }
    }
}

#[cfg(test)]
mod tests;
