//! What the session's opening and end mean for the lock.

use super::{Effect, Leftover, Lock, Next, Phase};
use crate::{
    clock::Moment,
    ownership::LossReason,
    protocol::session::{Notice, Request},
};

impl Lock {
    pub(super) fn notified(&mut self, now: Moment, notice: Notice, effects: &mut Vec<Effect>) {
        match notice {
            Notice::Opened(view) => {
                self.session = Some(view);
                self.no_session = None;
                // The store may have been replaced since the wait began. In the new one, the
                // key can have a lower index, and the watch would wait for the old one.
                if matches!(self.phase, Phase::Waiting { .. }) {
                    self.look(effects);
                }
            }
            Notice::Fenced { generation, fence } => self.fenced(now, generation, fence, effects),
            Notice::Closed { generation, reason } => self.closed(generation, reason, effects),
            Notice::Troubled(error) => self.troubled(now, error, effects),
        }
    }

    pub(super) fn closed(
        &mut self,
        generation: u64,
        reason: LossReason,
        effects: &mut Vec<Effect>,
    ) {
        if self.session.as_ref().is_some_and(|view| view.generation == generation) {
            self.forget_session();
        }
        if self.sweep.as_ref().is_some_and(|sweep| sweep.generation == generation) {
            self.sweep = None;
        }
        self.distrusted = self.distrusted.filter(|(distrusted, _)| *distrusted > generation);
        match &self.phase {
            Phase::Owned(own) | Phase::Losing { own, .. } if own.generation == generation => {
                self.lose(reason, effects);
            }
            // The owner had released it; the session's end now frees the key.
            Phase::Releasing(releasing) if releasing.own.generation == generation => {
                self.lose(reason, effects);
            }
            // The session's end voids its attempts.
            Phase::Trying { attempt, .. } | Phase::Fencing { attempt, .. }
                if attempt.generation == generation =>
            {
                self.phase = Phase::Idle;
                self.resume = Next::Read;
            }
            _ => {}
        }
        // Only the same session can lock a key again at an earlier index, and another store
        // may start with lower indexes.
        self.floor = 0;
    }

    /// Drops the session and asks for its end, because there is proof that it is
    /// unreliable.
    pub(super) fn distrust(
        &mut self,
        generation: u64,
        reason: LossReason,
        effects: &mut Vec<Effect>,
    ) {
        self.forget_session();
        self.distrusted = Some((generation, reason));
        effects.push(Effect::Request(Request::Distrust { generation, reason }));
    }

    /// Drops the session: it can acquire nothing more and holds nothing.
    fn forget_session(&mut self) {
        self.session = None;
        self.leftover = Leftover::None;
    }
}
