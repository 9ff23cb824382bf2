//! The pause before failed work starts again.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::backoff::Restarts;

/// The pauses of one piece of work.
#[derive(Debug)]
pub(super) struct RestartPauses {
    pauses: Restarts,
    began: Instant,
}

const LONGEST: Duration = Duration::from_secs(10);

impl RestartPauses {
    pub(super) fn new() -> Self {
        Self { pauses: Restarts::new(0, LONGEST), began: Instant::now() }
    }

    /// The work starts.
    pub(super) fn begun(&mut self) {
        self.began = Instant::now();
    }

    /// The work has failed. Returns the pause before it starts again.
    pub(super) fn after_failure(&mut self) -> Duration {
        self.pauses.after(self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_ten_seconds_and_a_long_run_starts_over() {
        let mut pauses = RestartPauses::new();
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            pauses.begun();
            assert_eq!(pauses.after_failure(), Duration::from_millis(expected));
        }
        pauses.begun();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pauses.after_failure(), Duration::from_millis(100));
    }
}
