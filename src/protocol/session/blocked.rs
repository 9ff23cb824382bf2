//! Notices when only an operator can make the session work.

use std::time::Duration;

use super::messages::{Effect, Notice};
use crate::{
    clock::Moment,
    config::Timing,
    consul::fact::Trouble,
    error::{Error, Step},
};

/// How long Consul denies the session before that is reported. A new ACL token may take
/// some seconds to reach every server.
pub(super) const DENIED_FOR: Duration = Duration::from_secs(30);

/// A request timeout allows for a round trip and half of another one.
const ROUND_TRIPS: f64 = 1.5;

/// Why a request about the session failed.
#[derive(Debug)]
pub(super) enum Failure {
    Denied(String),
    Unknown(Trouble),
}

/// The faults that only an operator can mend.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    /// The first of the consecutive denials.
    denied_since: Option<Moment>,
}

impl Blocked {
    /// A request succeeded.
    pub(super) fn cleared(&mut self) {
        self.denied_since = None;
    }

    /// Reports a failed request, and what an operator must do if nothing else helps.
    pub(super) fn report(
        &mut self,
        now: Moment,
        timing: &Timing,
        (step, failure): (Step, Failure),
        effects: &mut Vec<Effect>,
    ) {
        let (error, why) = self.failed(now, timing, step, failure);
        effects.extend(why.map(Effect::Blocked));
        effects.push(Effect::Notify(Notice::Troubled(error)));
    }

    fn failed(
        &mut self,
        now: Moment,
        timing: &Timing,
        step: Step,
        failure: Failure,
    ) -> (Error, Option<String>) {
        let error = match &failure {
            Failure::Denied(right) => Error::Denied { right: right.clone() },
            Failure::Unknown(trouble @ Trouble::TooFar { round_trip, .. }) => {
                let why = format!("{trouble}; {}", advice(timing, *round_trip));
                return (Error::unavailable(step, why.clone()), Some(why));
            }
            Failure::Unknown(trouble) => trouble.to_error(step),
        };
        if let Failure::Unknown(trouble) = failure
            && trouble != Trouble::UnknownToken
        {
            return (error, None);
        }
        let since = *self.denied_since.get_or_insert(now);
        let lasts = now.since(since) >= DENIED_FOR;
        let why = lasts.then(|| format!("denied for more than {DENIED_FOR:?}: {error}"));
        (error, why)
    }
}

/// Which timing works if a round trip takes this long.
fn advice(timing: &Timing, round_trip: Duration) -> String {
    let wanted = round_trip.mul_f64(ROUND_TRIPS);
    let fits = |seconds: &u64| {
        let span = Duration::from_secs(*seconds);
        let timing = timing.clone().with_session_ttl(span).with_lock_delay(span);
        timing.request_timeout() >= wanted
    };
    let Some(seconds) = (1..=60).find(fits) else {
        return "no timing allows for that: use an agent that is nearer".into();
    };
    let least = Duration::from_secs(seconds);
    let mut fields = Vec::new();
    if timing.session_ttl < least {
        fields.push("timing.session_ttl");
    }
    if timing.lock_delay < least && !timing.fast_failover {
        fields.push("timing.lock_delay");
    }
    format!("set {} to at least {least:?}, or use an agent that is nearer", fields.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far(millis: u64) -> Failure {
        let round_trip = Duration::from_millis(millis);
        Failure::Unknown(Trouble::TooFar { limit: Duration::from_millis(288), round_trip })
    }

    #[test]
    fn a_round_trip_that_the_timing_does_not_allow_for_names_the_fields_to_raise() {
        let short = Timing::default()
            .with_session_ttl(Duration::from_secs(10))
            .with_lock_delay(Duration::from_secs(2));
        let fast = Timing::fast_failover();
        for (timing, millis, words) in [
            (&short, 400, "set timing.lock_delay to at least 4s"),
            (&short, 1_200, "set timing.session_ttl and timing.lock_delay to at least 12s"),
            (&fast, 1_200, "set timing.session_ttl to at least 12s"),
            (&short, 1_400, "no timing allows for that"),
        ] {
            let blocked = &mut Blocked::default();
            let (error, why) =
                blocked.failed(Moment::default(), timing, Step::CreateSession, far(millis));
            assert!(why.is_some_and(|why| why.contains(words)), "{error}");
            let text = error.to_string();
            assert!(text.contains(words) && text.contains("round trip"), "{text}");
        }
    }

    #[test]
    fn a_denial_that_lasts_is_reported_and_a_success_ends_it() {
        let at = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        let timing = Timing::default();
        let mut blocked = Blocked::default();
        let mut why =
            |now, failure| blocked.failed(at(now), &timing, Step::RenewSession, failure).1;
        let unknown = || Failure::Unknown(Trouble::UnknownToken);
        assert_eq!(why(100, Failure::Denied("session:write".into())), None);
        // An outage in between proves nothing.
        assert_eq!(why(115, Failure::Unknown(Trouble::TooLong)), None);
        assert!(why(129, unknown()).is_none());
        assert!(why(130, unknown()).is_some_and(|why| why.contains("ACL token")));
        assert_eq!(why(131, Failure::Unknown(Trouble::TooLong)), None);
        blocked.cleared();
        assert_eq!(blocked.failed(at(132), &timing, Step::RenewSession, unknown()).1, None);
    }
}
