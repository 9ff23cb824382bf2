//! The pause before failed work starts again.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::backoff::backoff;

/// A pause that doubles from [`SHORTEST`](Rest::SHORTEST) to [`LONGEST`](Rest::LONGEST).
#[derive(Debug)]
pub(super) struct Rest {
    failures: u32,
    began: Instant,
}

impl Rest {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);
    /// If failed work ran for this long, the next pause is the shortest again.
    const LONG_RUN: Duration = Duration::from_secs(10);

    pub(super) fn new() -> Self {
        Self { failures: 0, began: Instant::now() }
    }

    /// The work starts.
    pub(super) fn begun(&mut self) {
        self.began = Instant::now();
    }

    /// The work has failed. Returns the pause before it starts again.
    pub(super) fn after_failure(&mut self) -> Duration {
        if self.began.elapsed() >= Self::LONG_RUN {
            self.failures = 0;
        }
        let pause = backoff(Self::SHORTEST, self.failures, Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_ten_seconds_and_a_long_run_starts_over() {
        let mut rest = Rest::new();
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            rest.begun();
            assert_eq!(rest.after_failure(), Duration::from_millis(expected));
        }
        rest.begun();
        tokio::time::advance(Rest::LONG_RUN).await;
        assert_eq!(rest.after_failure(), Rest::SHORTEST);
    }
}
