//! How long a key is kept after it was taken away from its holder.

use std::time::Duration;

#[cfg(test)]
use super::mutation::Mutation;
use crate::config::Timing;

/// The longest time for which the holder's lease may last after its key was taken away. `ttl`
/// is the TTL of its session, if known.
///
/// A lease is shorter than the TTL and than 60 s, and counts from before the last renewal. A
/// holder whose renewals still reach Consul learns of the loss from its watch of the key.
pub(crate) fn keeps(ttl: Option<Duration>) -> Duration {
    #[cfg(test)]
    if Mutation::TakenUnkept.is_chosen() {
        return Duration::ZERO;
    }
    ttl.unwrap_or(Timing::LONGEST_LEASE).min(Timing::LONGEST_LEASE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_for_the_longest_lease_that_its_holder_may_have() {
        let seconds = Duration::from_secs;
        assert_eq!(keeps(Some(seconds(15))), seconds(15));
        assert_eq!(keeps(Some(seconds(86_400))), seconds(60));
        assert_eq!(keeps(None), seconds(60));
    }

    #[test]
    fn a_key_that_was_taken_away_is_kept_for_longer_than_every_lease() {
        for fast_failover in [false, true] {
            for ttl in [10, 15, 60, 61, 62, 90, 3_600, 86_400].map(Duration::from_secs) {
                let timing = Timing { fast_failover, clock_drift: 0.0, ..Timing::default() }
                    .with_session_ttl(ttl)
                    .with_lock_delay(Duration::from_secs(60));
                assert!(timing.lease() < keeps(Some(ttl)), "{timing}");
                assert!(timing.lease() < keeps(None), "{timing}");
                assert!(timing.lease_under(2 * ttl) < keeps(None), "{timing}");
            }
        }
    }
}
