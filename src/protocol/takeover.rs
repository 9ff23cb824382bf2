//! How long a key is kept after it was taken away from its holder.

use std::time::Duration;

#[cfg(test)]
use super::mutation::Mutation;

/// The longest lease: Consul enforces no longer lock-delay.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// The longest time for which the holder's lease may last after its key was taken away. `ttl`
/// is the TTL of its session, if known.
///
/// A lease is shorter than the TTL, and counts from before the last renewal. A holder whose
/// renewals still reach Consul learns the loss from its watch of the key.
pub(crate) fn keeps(ttl: Option<Duration>) -> Duration {
    #[cfg(test)]
    if Mutation::TakenUnkept.is_chosen() {
        return Duration::ZERO;
    }
    ttl.unwrap_or(LONGEST_LEASE).min(LONGEST_LEASE)
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
}
