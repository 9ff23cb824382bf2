//! Who leads a key, and what this process does about it.
//!
//! A campaign is a caller that never goes home: it waits in the key's queue as
//! any other does, has the key as long as it lasts, and enters again when it was
//! lost.
//!
//! ```text
//!              ┌───────────── enter ──────────────┐
//!              ▼                                  │
//!   enter ► Waiting ──granted──► Leading ──lost─► Deposed, until that is told
//!              │  ▲                 │
//!      refused │  │ pause is over   │ resign
//!              ▼  │                 │
//!            Resting ◄──cool-down───┴───────────► no campaign
//! ```
//!
//! The end of a term is put out before anything that follows from it, and
//! nothing follows before it has been told.

use std::time::Duration;

#[cfg(test)]
use super::mutation::Mutation;
use super::queue::CallId;
use crate::{
    clock::Moment,
    ownership::{Holder, LossReason},
    token::FencingToken,
};

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The campaign takes a place in the queue, which is told by
    /// [`Election::entered`].
    Enter,
    /// This process leads from now on.
    Elected { token: FencingToken },
    /// It leads no longer.
    Deposed { token: FencingToken, reason: LossReason },
    /// Another session holds the key than before, or none.
    LeaderChanged { leader: Option<Box<Holder>> },
}

/// Where a campaign was when it stood down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stood {
    /// In the queue: it is to leave.
    Waiting(CallId),
    /// It led: its lease is to be given back.
    Leading(CallId),
    /// It had nothing.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// Not in the queue before that moment.
    Resting {
        until: Moment,
    },
    Waiting {
        call: CallId,
    },
    Leading {
        call: CallId,
        token: FencingToken,
    },
    /// The term was lost, and that may not have been told yet.
    Deposed,
}

#[derive(Debug)]
struct Campaign {
    number: u64,
    stance: Stance,
    /// Refusals in a row.
    setbacks: u32,
}

/// How long a campaign rests that was refused: at first, and at most.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The election machine of one key.
#[derive(Debug, Default)]
pub(crate) struct Election {
    campaign: Option<Campaign>,
    campaigns: u64,
    observers: usize,
    /// How often anybody began to follow where nobody did.
    followings: u64,
    /// Who holds the key according to Consul, as last read.
    leader: Option<Box<Holder>>,
    /// This process has resigned, and still holds the key.
    parting: bool,
    /// How often the leader or our own term has changed.
    changes: u64,
    stopped: bool,
}

impl Election {
    /// Whether anybody here wants to know who leads.
    pub(crate) fn is_followed(&self) -> bool {
        !self.stopped && (self.campaign.is_some() || self.observers > 0)
    }

    /// How often anybody began to follow where nobody did.
    pub(crate) fn followings(&self) -> u64 {
        self.followings
    }

    /// How often the leader or our own term has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Who leads, as far as is known.
    pub(crate) fn leader(&self) -> Option<&Holder> {
        self.leader.as_deref()
    }

    /// The number of the present campaign.
    pub(crate) fn campaign(&self) -> Option<u64> {
        self.campaign.as_ref().map(|campaign| campaign.number)
    }

    /// The token of the present term.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        match self.campaign.as_ref()?.stance {
            Stance::Leading { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Whether the call is the campaign's.
    pub(crate) fn is_caller(&self, asked: CallId) -> bool {
        self.campaign.as_ref().is_some_and(|campaign| match campaign.stance {
            Stance::Waiting { call } | Stance::Leading { call, .. } => call == asked,
            Stance::Resting { .. } | Stance::Deposed => false,
        })
    }

    /// When [`go_on`](Self::go_on) is due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        match self.campaign.as_ref()?.stance {
            Stance::Resting { until } => Some(until),
            _ => None,
        }
    }

    /// Somebody wants to lead. Returns the number of the campaign, which is the
    /// one that goes on already, if there is one.
    pub(crate) fn campaign_for(&mut self, now: Moment, effects: &mut Vec<Effect>) -> u64 {
        if let Some(campaign) = &self.campaign {
            return campaign.number;
        }
        self.followings += u64::from(!self.is_followed());
        self.campaigns += 1;
        let (number, stance) = (self.campaigns, Stance::Resting { until: now });
        self.campaign = Some(Campaign { number, stance, setbacks: 0 });
        effects.push(Effect::Enter);
        number
    }

    /// The campaign has its place in the queue.
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
            campaign.setbacks = 0;
            self.changes += 1;
            effects.push(Effect::Elected { token });
        }
    }

    /// The campaign's call will not be granted the key. It tries again later:
    /// somebody may give us the right, or remove what is in the way.
    pub(crate) fn refused(&mut self, now: Moment) {
        if self.stopped {
            self.campaign = None;
        } else if let Some(campaign) = &mut self.campaign {
            let rest = (SHORTEST_REST * (1 << campaign.setbacks.min(5))).min(LONGEST_REST);
            campaign.setbacks += 1;
            campaign.stance = Stance::Resting { until: now + rest };
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

    /// All that was put out has been told: what was waiting for that goes on, and
    /// what is due.
    pub(crate) fn go_on(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Some(campaign) = &self.campaign {
            match campaign.stance {
                Stance::Deposed => effects.push(Effect::Enter),
                Stance::Resting { until } if until <= now => effects.push(Effect::Enter),
                _ => {}
            }
        }
    }

    /// That campaign stands down: for so long, or for good. A term that lasts ends
    /// with that.
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
            Stance::Resting { until } => (Stood::Idle, until),
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
                campaign.stance = Stance::Resting { until: before.max(now + pause) };
            }
            None => {
                self.campaign = None;
                self.forget_unless_followed();
            }
        }
        stood
    }

    /// Somebody wants to know who leads, without contending.
    pub(crate) fn observe(&mut self) {
        self.followings += u64::from(!self.is_followed());
        self.observers += 1;
    }

    /// Somebody does not want to know any more.
    pub(crate) fn unobserve(&mut self) {
        self.observers = self.observers.saturating_sub(1);
        self.forget_unless_followed();
    }

    /// Who led to the last tells that it does so no more, whether or not anybody
    /// follows that.
    fn forget_unless_followed(&mut self) {
        if !self.is_followed() && !self.parting {
            self.leader = None;
        }
    }

    /// Who holds the key now, as far as is known.
    pub(crate) fn seen(&mut self, holder: Option<&Holder>, effects: &mut Vec<Effect>) {
        if !self.is_followed() && !self.parting {
            return;
        }
        let session = |holder: &Holder| holder.session.clone();
        let same = self.leader().map(session) == holder.map(session);
        self.leader = holder.cloned().map(Box::new);
        // The same one, perhaps better known.
        if !same {
            self.parting = false;
            self.changes += 1;
            effects.push(Effect::LeaderChanged { leader: self.leader.clone() });
        }
    }

    /// Nobody contends or follows any more. A term that lasts is lost next.
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
