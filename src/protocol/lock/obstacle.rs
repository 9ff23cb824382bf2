//! Reporting to the callers what prevents the acquisition, and pausing before the next attempt.

use std::time::Duration;

use super::{Effect, Lock, Next, Phase};
use crate::{
    clock::Moment,
    consul::fact::Expect,
    error::Error,
    protocol::{backoff::backoff, queue::Obstacle},
};

/// The pauses between attempts when a lock-delay should be over.
const SOON: Duration = Duration::from_millis(5);
const SOON_AT_MOST: Duration = Duration::from_millis(250);
/// The pauses between attempts while a lock-delay of unknown end runs.
const DELAYED: Duration = Duration::from_millis(50);
const DELAYED_AT_MOST: Duration = Duration::from_millis(500);
/// The pauses after a failed request.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Lock {
    /// Reports that no session can be created.
    pub(super) fn troubled(&mut self, now: Moment, error: Error, effects: &mut Vec<Effect>) {
        self.no_session = Some(error.clone());
        let idle = matches!(self.phase, Phase::Idle | Phase::Following { .. });
        if !idle || !self.demand.wants() || self.session.is_some() {
            return;
        }
        if let Error::Denied { .. } | Error::Invalid { .. } = error {
            self.fail(now, Obstacle::Trouble(error), effects);
        } else {
            self.obstruct(Obstacle::Trouble(error), effects);
        }
    }

    /// Reports to impatient callers why there is no session. For others, the next attempt to
    /// create one decides.
    pub(super) fn tell_no_session(&mut self, effects: &mut Vec<Effect>) {
        if self.demand.impatient
            && let Some(error) = self.no_session.clone()
        {
            self.obstruct(Obstacle::Trouble(error), effects);
        }
    }

    /// Reports the current obstacle to impatient callers that arrived during a wait.
    pub(super) fn tell_impatient(&mut self, effects: &mut Vec<Effect>) {
        if !self.demand.impatient {
            return;
        }
        match self.obstacle.clone() {
            Some(obstacle) => self.obstruct(obstacle, effects),
            // The only obstacle is our fairness pause; do not refuse an impatient caller for
            // it.
            None => {
                if let Phase::Pausing { next, .. } = self.phase {
                    self.resume = next;
                    self.begin(effects);
                }
            }
        }
    }

    pub(super) fn obstruct(&mut self, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        self.obstacle = Some(obstacle.clone());
        effects.push(Effect::Obstructed(obstacle));
        // The report answers all impatient callers.
        self.demand.impatient = false;
    }

    pub(super) fn fail(&mut self, now: Moment, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        self.rest_refused(now);
        self.refuse(obstacle, effects);
    }

    /// Refuses all callers.
    pub(super) fn refuse(&mut self, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        self.demand.patient = false;
        self.demand.impatient = false;
        effects.push(Effect::Failed(obstacle));
    }

    /// Waits out Consul's lock-delay: tries exactly at its end if that is known,
    /// otherwise at growing intervals.
    pub(super) fn delayed(&mut self, now: Moment, expect: Expect, effects: &mut Vec<Effect>) {
        let delay = self.holders.last().map(|(_, facts)| facts.lock_delay);
        let end = match (self.freed_at, delay) {
            (Some(freed_at), Some(delay)) => Some(freed_at + delay),
            _ => None,
        };
        let until = match end {
            Some(end) if end > now => end,
            Some(_) => {
                let pause = backoff(SOON, self.setbacks, SOON_AT_MOST);
                self.setbacks += 1;
                now + pause
            }
            None => {
                let pause = backoff(DELAYED, self.setbacks, DELAYED_AT_MOST);
                self.setbacks += 1;
                now + self.random.within(pause)
            }
        };
        let remaining = end.filter(|end| *end > now).map(|end| end.since(now));
        self.obstruct(Obstacle::Delayed { remaining }, effects);
        self.phase = if self.demand.wants() {
            Phase::Pausing { until, next: Next::Try(expect) }
        } else {
            Phase::Idle
        };
    }

    pub(super) fn pause(&mut self, now: Moment, next: Next) {
        let pause = backoff(PAUSE, self.setbacks, LONGEST_PAUSE);
        self.setbacks += 1;
        let until = now + self.random.within(pause);
        self.phase = Phase::Pausing { until, next };
    }
}
