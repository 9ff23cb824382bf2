//! The time limit of a question, which its requests share.

use std::time::Duration;

/// The time limit of a question, and how much of it its earlier requests have used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    whole: Duration,
    spent: Duration,
}

impl From<Duration> for Limit {
    fn from(whole: Duration) -> Self {
        Self { whole, spent: Duration::ZERO }
    }
}

impl Limit {
    /// The limit of a request that is sent `waited` later.
    pub(super) fn after(self, waited: Duration) -> Self {
        Self { spent: self.spent + waited, ..self }
    }

    /// This limit with another whole.
    pub(super) fn of(self, whole: Duration) -> Self {
        Self { whole, ..self }
    }

    pub(super) fn whole(self) -> Duration {
        self.whole
    }

    /// How long the answer may still take.
    pub(super) fn left(self) -> Duration {
        self.whole.saturating_sub(self.spent)
    }

    /// How long the request may still be sent. Later, there would be hardly any time for the
    /// answer, and it would be unknown whether it had an effect.
    pub(super) fn time_to_send(self) -> Duration {
        (self.whole - self.whole / 4).saturating_sub(self.spent)
    }

    /// Whether a connection that has owed an answer for `waited` counts as silent: only after
    /// nearly the whole limit. A shorter wait proves nothing.
    pub(super) fn shows_silence(self, waited: Duration) -> bool {
        waited >= self.whole - self.whole / 16
    }
}
