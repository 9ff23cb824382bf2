//! The pause before work that failed is begun again.

use std::time::Duration;

use tokio::time::Instant;

/// A pause that doubles from [`SHORTEST`](Rest::SHORTEST) to [`LONGEST`](Rest::LONGEST).
#[derive(Debug)]
pub(super) struct Rest {
    next: Duration,
    began: Instant,
}

impl Rest {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);
    /// Work that ran for so long before it failed begins again with the shortest pause.
    const LONG_RUN: Duration = Duration::from_secs(10);

    pub(super) fn new() -> Self {
        Self { next: Self::SHORTEST, began: Instant::now() }
    }

    /// The work begins.
    pub(super) fn begun(&mut self) {
        self.began = Instant::now();
    }

    /// The work has failed: how long to pause before it begins again.
    pub(super) fn after_failure(&mut self) -> Duration {
        if self.began.elapsed() >= Self::LONG_RUN {
            self.next = Self::SHORTEST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
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
