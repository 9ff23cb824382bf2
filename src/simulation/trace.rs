//! The log of a history, for comparison and for reading.

use std::fmt::Write as _;

use super::world::START;
use crate::clock::Moment;

/// The log of one history. The hash is always kept, the text only on demand.
#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(readable: bool) -> Self {
        Self { hash: 0, lines: readable.then(Vec::new) }
    }

    /// Adds a line; `code` represents it in the hash.
    pub(super) fn note(&mut self, now: Moment, code: u64, line: impl FnOnce() -> String) {
        let step = now.as_nanos() ^ code.rotate_left(32);
        self.hash = (self.hash.rotate_left(5) ^ step).wrapping_mul(0x517c_c1b7_2722_0a95);
        if let Some(lines) = &mut self.lines {
            let micros = now.since(START).as_micros();
            lines.push(format!("{:>7}.{:03} ms  {}", micros / 1000, micros % 1000, line()));
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines of the text.
    pub(super) fn tail(&self, lines: usize) -> String {
        let all = self.lines.as_deref().unwrap_or_default();
        let mut text = String::new();
        for line in &all[all.len().saturating_sub(lines)..] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
