//! How long callers hold and wait for a key, and what they hold meanwhile.

use std::time::Duration;

use super::{Callers, Held, inner::Inner};
use crate::{
    clock::Moment,
    protocol::{queue::CallId, queue::Obstacle},
    token::FencingToken,
};

/// Moments that only reports show.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The last lease was granted then.
    granted: Moment,
    /// Its length was reported.
    reported: bool,
    /// The session that was last seen with the key, and since when.
    met: Option<(Box<str>, Moment)>,
    /// Why the last attempt failed for good; a campaign makes another one.
    failed: Option<Obstacle>,
}

/// The current hold and the waits of one key.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    pub(crate) waiting: usize,
    /// The longest wait of a caller.
    pub(crate) oldest_wait: Option<Duration>,
    /// The length of the current hold, unless it is a term.
    pub(crate) hold: Option<Duration>,
    /// The token of the current lease or term.
    pub(crate) token: Option<FencingToken>,
    /// Holds and waits that have now lasted too long.
    pub(crate) overlong: Vec<String>,
    /// The keys that callers hold while they wait for this one.
    pub(crate) held_by_waiters: Vec<Held>,
}

impl Times {
    pub(super) fn granted(&mut self, now: Moment) {
        *self = Self { granted: now, ..Self::default() };
    }

    pub(super) fn failed(&mut self, obstacle: &Obstacle) {
        self.failed = Some(obstacle.clone());
    }

    /// Why the last attempt failed, if it failed for good.
    pub(super) fn failure(&self) -> Option<&Obstacle> {
        self.failed.as_ref()
    }

    pub(super) fn obstructed(&mut self, now: Moment, obstacle: &Obstacle) {
        self.failed = None;
        match obstacle {
            Obstacle::Held(holder) => {
                let known = self.met.as_ref().is_some_and(|(met, _)| **met == *holder.session);
                if !known {
                    self.met = Some((holder.session.as_str().into(), now));
                }
            }
            Obstacle::Delayed { .. } => self.met = None,
            _ => {}
        }
    }

    /// How long the last seen holder has been seen with the key.
    pub(super) fn met(&self, now: Moment) -> Option<Duration> {
        self.met.as_ref().map(|(_, since)| now.since(*since))
    }

    pub(super) fn held(&self, now: Moment) -> Duration {
        now.since(self.granted)
    }
}

impl Inner {
    pub(super) fn oldest_wait(&self, now: Moment) -> Option<Duration> {
        self.waiting.values().map(|waiting| now.since(waiting.since)).max()
    }
}

impl Callers {
    /// The waiting caller holds these meanwhile.
    pub(crate) fn declare(&self, call: CallId, holding: Box<[Held]>) {
        if let Some(waiting) = self.lock().waiting.get_mut(&call) {
            waiting.holding = holding;
        }
    }

    /// Looks at holds and waits. Each that lasts longer than `limit` is reported once.
    pub(crate) fn glance(&self, limit: Option<Duration>) -> Glance {
        let now = self.clock.now();
        let mut inner = self.lock();
        let inner = &mut *inner;
        let lease = inner.lease.as_ref().filter(|(_, state)| state.is_valid());
        let hold = lease.filter(|(call, _)| !inner.contest.election().is_caller(*call));
        let mut glance = Glance {
            waiting: inner.contest.queue().waiting(),
            oldest_wait: inner.oldest_wait(now),
            hold: hold.map(|_| inner.times.held(now)),
            token: lease.map(|(_, state)| state.token()),
            ..Glance::default()
        };
        let is_overlong = |span: Duration| limit.is_some_and(|limit| span >= limit);
        if let (Some(span), Some(token)) = (glance.hold, glance.token)
            && is_overlong(span)
            && !std::mem::replace(&mut inner.times.reported, true)
        {
            glance.overlong.push(format!("held for {span:.0?} by one caller, token {token}"));
        }
        for waiting in inner.waiting.values_mut() {
            glance.held_by_waiters.extend(waiting.holding.iter().cloned());
            let span = now.since(waiting.since);
            if is_overlong(span) && !std::mem::replace(&mut waiting.reported, true) {
                glance.overlong.push(format!("a caller has waited for {span:.0?}"));
            }
        }
        glance
    }
}
