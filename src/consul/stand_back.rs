//! The value of a key that is kept after its leader was made to step down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Demands from the process of the former leader that its campaign pauses.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StandBack {
    stand_back: Note,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    session: String,
    pause_ms: u64,
}

impl StandBack {
    /// The longest value that can be a demand, in bytes.
    const MOST: usize = 256;
    /// The longest pause that is obeyed: anybody who may write the key can demand one.
    const LONGEST: Duration = Duration::from_secs(70);
    /// Time for other candidates to win the free key.
    const MARGIN: Duration = Duration::from_secs(2);

    /// Demands a pause from the process with that session, until others had time to win a key
    /// that is kept for `keeps`.
    pub(crate) fn value(session: &str, keeps: Duration) -> Vec<u8> {
        let pause_ms = u64::try_from((keeps + Self::MARGIN).as_millis()).unwrap_or(u64::MAX);
        let note = Note { session: session.to_owned(), pause_ms };
        serde_json::to_vec(&Self { stand_back: note }).unwrap_or_default()
    }

    /// The pause that the value demands from the process with that session.
    pub(crate) fn demanded(value: &[u8], session: &str) -> Option<Duration> {
        let value = Some(value).filter(|value| value.len() <= Self::MOST)?;
        let Self { stand_back } = serde_json::from_slice(value).ok()?;
        let pause = Duration::from_millis(stand_back.pause_ms).min(Self::LONGEST);
        (stand_back.session == session).then_some(pause)
    }
}

#[cfg(test)]
mod tests;
