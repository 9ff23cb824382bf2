//! The whole state of a slot as text, for explorations.

use super::{Slot, lock};

impl Slot {
    /// Everything that decides what happens next.
    pub(crate) fn anatomy(&self) -> String {
        let (machine, facts, written) = (self.machine(), lock(&self.facts), self.written());
        let decides_at = self.decides_at();
        let callers = self.callers.anatomy();
        format!("{} {machine:?} {facts:?} {written:?} {decides_at:?} {callers}", self.key)
    }
}
