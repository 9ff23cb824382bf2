//! The session's fence: raising it, and what is known of its entry.

use std::time::Duration;

use super::{
    Phase, Raise, Session, TOO_FAR,
    blocked::Failure,
    messages::{Effect, Notice},
};
use crate::{
    clock::Moment,
    consul::fact::{Fence, Raised, Seen, Trouble},
    error::Step,
    ownership::LossReason,
    protocol::Ticket,
};

/// Pause before retrying to raise a fence after the token was denied: rights can
/// change.
const DENIED_AGAIN: Duration = Duration::from_secs(60);
/// Pause before retrying to raise a fence after an inconclusive answer.
const RAISE_AGAIN: Duration = Duration::from_millis(250);

impl Session {
    pub(super) fn raise_fence(
        &mut self,
        now: Moment,
        generation: u64,
        seen: Fence,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Open(open) = &mut self.phase else { return };
        if open.view.generation != generation {
            return;
        }
        if open.view.fence != seen || seen == Fence::Unusable {
            // Already raised: the lock has not received the notice yet.
            effects.push(Effect::Notify(Notice::Fenced { generation, fence: open.view.fence }));
        } else if matches!(open.raise, Raise::Settled) {
            let ticket = self.tickets.next();
            open.raise = Raise::Asking(ticket);
            effects.push(Effect::Raise { ticket, session: open.view.id.clone(), from: seen });
        } else if let Raise::Again(at) = &mut open.raise {
            *at = now;
        }
    }

    pub(super) fn raised(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: Raised,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_raising(ticket) {
            return;
        }
        match answer {
            Raised::At(index) => self.fence_is(now, ticket, Fence::At(index), effects),
            Raised::Denied(_) => self.fence_denied(now, ticket, effects),
            Raised::Stale => self.raise_again(ticket, now),
            Raised::Unknown(trouble) => {
                if self.is_lent() {
                    return self.raise_again(ticket, now + RAISE_AGAIN);
                }
                if let Trouble::TooFar { .. } = trouble {
                    // No renewal would be answered either.
                    self.retire(now);
                    self.phase = Phase::Absent { since: Some(now + TOO_FAR) };
                }
                let failed = (Step::CreateSession, Failure::Unknown(trouble));
                self.blocked.report(now, &self.timing, failed, effects);
                self.raise_again(ticket, now + RAISE_AGAIN);
            }
        }
    }

    pub(super) fn fence_read(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: Seen,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_raising(ticket) {
            return;
        }
        let Phase::Open(open) = &mut self.phase else { return };
        let stands = match answer {
            Seen::Found { entry, .. } => Fence::At(entry.modify_index),
            Seen::Missing { .. } => Fence::Unraised,
            Seen::Denied(_) | Seen::NameRefused(_) => {
                return self.fence_denied(now, ticket, effects);
            }
            Seen::Unknown(trouble) => {
                if !open.lent {
                    let failed = (Step::CreateSession, Failure::Unknown(trouble));
                    self.blocked.report(now, &self.timing, failed, effects);
                }
                return self.raise_again(ticket, now + RAISE_AGAIN);
            }
        };
        // A deleted entry must be rewritten as well. An entry that is unchanged since it
        // could not be raised voids nothing.
        let is_later = match (stands, open.view.fence) {
            (Fence::At(stands), Fence::At(known)) => stands > known,
            (Fence::At(_), Fence::Unraised) => true,
            _ => false,
        };
        if is_later {
            self.fence_is(now, ticket, stands, effects);
        } else {
            let ticket = self.tickets.next();
            open.raise = Raise::Asking(ticket);
            effects.push(Effect::Raise { ticket, session: open.view.id.clone(), from: stands });
        }
    }

    pub(super) fn fence_is(
        &mut self,
        now: Moment,
        ticket: Ticket,
        fence: Fence,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Open(open) = &mut self.phase else { return };
        if !matches!(open.raise, Raise::Asking(asked) if asked == ticket) {
            return;
        }
        if let (Fence::At(raised), Fence::At(before)) = (fence, open.view.fence)
            && raised <= before
        {
            // Indexes only rise within one store's history.
            return self.close(LossReason::StoreReplaced, effects);
        }
        open.raise = Raise::Settled;
        open.view.fence = fence;
        if std::mem::replace(&mut open.lent, true) {
            effects
                .push(Effect::Notify(Notice::Fenced { generation: open.view.generation, fence }));
            return;
        }
        self.tidying.session_lent(now, &open.view.id);
        effects.push(Effect::Notify(Notice::Opened(open.view.clone())));
    }

    /// Handles a denied raise: locks do without a fence until the token may write it.
    fn fence_denied(&mut self, now: Moment, ticket: Ticket, effects: &mut Vec<Effect>) {
        let Phase::Open(open) = &mut self.phase else { return };
        if !matches!(open.raise, Raise::Asking(asked) if asked == ticket) {
            return;
        }
        let is_known = open.lent && open.view.fence == Fence::Unusable;
        if !is_known {
            self.fence_is(now, ticket, Fence::Unusable, effects);
        }
        if let Phase::Open(open) = &mut self.phase {
            open.raise = Raise::Again(now + DENIED_AGAIN);
        }
    }

    fn is_lent(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.lent)
    }

    /// Whether `ticket` is of the session's last request about its fence.
    fn is_raising(&self, ticket: Ticket) -> bool {
        matches!(&self.phase, Phase::Open(open)
            if matches!(open.raise, Raise::Asking(asked) if asked == ticket))
    }

    fn raise_again(&mut self, ticket: Ticket, at: Moment) {
        if let Phase::Open(open) = &mut self.phase
            && matches!(open.raise, Raise::Asking(asked) if asked == ticket)
        {
            open.raise = Raise::Again(at);
        }
    }
}
