//! Contending for the lock, up to the moment of ownership.

use super::{Attempt, Effect, Leftover, Lock, Next, Phase, own::Own};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Expect, Locked, Trouble},
    error::{Error, Step},
    ownership::LossReason,
    protocol::{Ticket, queue::Obstacle},
    token::FencingToken,
};

/// How often in a row the key may change before an attempt, without a pause. Each attempt follows
/// a read.
const OUTRUN_AT_ONCE: u32 = 8;

impl Lock {
    /// Contends, provided that there is a session.
    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        if self.session.is_none() {
            self.phase = Phase::Idle;
            return self.tell_no_session(effects);
        }
        match self.resume {
            Next::Try(Expect::Missing) if self.reads_first => self.look(effects),
            Next::Try(expect) => self.try_lock(expect, effects),
            Next::Read => self.look(effects),
        }
    }

    pub(super) fn try_lock(&mut self, expect: Expect, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.as_ref() else {
            // Idle until a session opens; the key may have changed by then.
            self.resume = Next::Read;
            self.phase = Phase::Idle;
            return;
        };
        self.resume = Next::Try(Expect::Missing);
        let attempt = Attempt { generation: view.generation, fence: view.fence, expect };
        let ticket = self.tickets.next();
        effects.push(Effect::Lock { ticket, session: view.id.clone(), fence: view.fence, expect });
        self.phase = Phase::Trying { ticket, attempt };
    }

    /// Handles the answer to a lock attempt.
    pub(super) fn locked(
        &mut self,
        now: Moment,
        asked: Ticket,
        answer: Locked,
        effects: &mut Vec<Effect>,
    ) {
        #[cfg(test)]
        if let Phase::Fencing { attempt, .. } = &self.phase
            && Mutation::LateLockedBelieved.is_chosen()
        {
            self.phase = Phase::Trying { ticket: asked, attempt: attempt.clone() };
        }
        let Phase::Trying { ticket, attempt } = &self.phase else { return };
        #[cfg(test)]
        let asked = if Mutation::StaleTicketGranted.is_chosen() { *ticket } else { asked };
        if *ticket != asked {
            return;
        }
        let attempt = attempt.clone();
        self.unclear = match answer {
            Locked::Unknown(_) => self.unclear.saturating_add(1),
            _ => 0,
        };
        match answer {
            Locked::At(index) => self.won(now, index, &attempt, effects),
            // Another key of the set was at fault.
            Locked::Aside => {
                self.leftover = Leftover::Possible;
                self.look(effects);
            }
            Locked::Changed | Locked::Held => {
                // Possibly by a duplicate of this request, so a read must decide.
                self.leftover = Leftover::Possible;
                self.outrun += 1;
                if self.outrun <= OUTRUN_AT_ONCE {
                    return self.look(effects);
                }
                let error = Error::unavailable(Step::Lock, "others keep writing the key");
                self.obstruct(Obstacle::Trouble(error), effects);
                self.pause(now, Next::Read);
            }
            Locked::AsideUnsent(trouble) => {
                self.leftover = Leftover::Possible;
                self.obstruct(Obstacle::Trouble(trouble.to_error(Step::Lock)), effects);
                self.pause(now, Next::Read);
            }
            Locked::Delayed => match self.leftover {
                // Lock-delay is running and our session still holds a leftover lock. Release it
                // now: the end of the delay changes nothing that a watch would show.
                Leftover::At(index) => self.release_leftover(index, effects),
                // A new leader starts the lock-delay again. A copy of this request may have locked
                // the key before that.
                _ => {
                    self.suspect_a_copy();
                    self.delayed(now, attempt.expect, effects);
                }
            },
            // A followed key, or one with a possible late attempt, may have changed meanwhile.
            Locked::Withdrawn => {
                let reads = self.demand.follow || self.sweep.is_some();
                self.resume = if reads { Next::Read } else { Next::Try(attempt.expect) };
                self.phase = Phase::Idle;
            }
            Locked::Fenced | Locked::FenceDenied(_) => {
                // What obstructed an earlier attempt may be over.
                self.obstacle = None;
                self.make_void(now, attempt, false, effects);
            }
            Locked::SessionGone => {
                self.phase = Phase::Idle;
                self.distrust(attempt.generation, LossReason::SessionGone, effects);
            }
            Locked::Denied(right) => self.refused(now, Error::Denied { right }, effects),
            Locked::Refused(why) => {
                self.refused(now, Error::unavailable(Step::Lock, why), effects);
            }
            // The attempt had no effect and never will have, so there is nothing to void.
            Locked::Unsent(trouble) => {
                #[cfg(test)]
                if Mutation::LeftoverForgotten.is_chosen() {
                    self.leftover = Leftover::None;
                }
                // Consul may have known the token when it got the first of two copies.
                if trouble == Trouble::UnknownToken && self.leftover == Leftover::None {
                    self.leftover = Leftover::Possible;
                }
                self.obstruct(Obstacle::Trouble(trouble.to_error(Step::Lock)), effects);
                self.pause(now, Next::Try(attempt.expect));
            }
            Locked::Unknown(trouble) => {
                self.obstruct(Obstacle::Trouble(trouble.to_error(Step::Lock)), effects);
                self.make_void(now, attempt, true, effects);
            }
        }
    }

    /// Consul refuses the lock, or only a second copy of its request: the first may have locked
    /// the key before the right was withdrawn. A read decides, and shows its holder to those who
    /// follow the key.
    fn refused(&mut self, now: Moment, error: Error, effects: &mut Vec<Effect>) {
        self.fail(now, Obstacle::Trouble(error), effects);
        self.suspect_a_copy();
    }

    fn suspect_a_copy(&mut self) {
        if self.leftover == Leftover::None {
            self.leftover = Leftover::ByCopy;
        }
    }

    fn won(&mut self, now: Moment, index: u64, attempt: &Attempt, effects: &mut Vec<Effect>) {
        let Some(view) = self.session.clone().filter(|v| v.generation == attempt.generation) else {
            self.phase = Phase::Idle;
            return;
        };
        self.leftover = Leftover::None;
        self.outrun = 0;
        let is_other_store = index < self.floor;
        #[cfg(test)]
        let is_other_store = is_other_store && !Mutation::OtherStoreIgnored.is_chosen();
        if is_other_store {
            // Indexes only rise within one store's history.
            self.phase = Phase::Idle;
            let generation = view.generation;
            self.release_in_passing((generation, view.id), index, None, effects);
            return self.store_replaced(generation, effects);
        }
        let own = Own::new(now, index, &view);
        self.setbacks = 0;
        self.freed_at = None;
        self.obstacle = None;
        let is_new = index > self.floor && FencingToken::new(index, 0).is_some();
        #[cfg(test)]
        let is_new = is_new || Mutation::RegrantAtSameIndex.is_chosen();
        if is_new && self.demand.wants() && view.cell.is_valid(now) {
            self.is_lock = true;
            effects.extend(self.edited.take().map(Effect::Overwrote));
            effects.push(Effect::Own { index, session: view.id, cell: view.cell });
            self.herd.won(now);
            // Until the next demand from the callers.
            self.demand.keep = true;
            self.phase = Phase::Owned(own);
        } else {
            self.release(own, effects);
        }
    }

    /// Whether our fairness pause still leaves a free key to others. Impatient callers
    /// do not wait for it.
    pub(super) fn is_courteous(&self, now: Moment) -> bool {
        now < self.yields_until && self.demand.wants() && !self.demand.impatient
    }
}
