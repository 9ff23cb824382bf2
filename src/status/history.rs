//! The last elections, depositions and losses of a runtime.

use std::collections::VecDeque;

use crate::{
    clock::Moment,
    key::Key,
    protocol::contest::News,
    status::report::{Change, What},
};

/// The number of changes that are kept.
const MOST: usize = 20;

/// The last changes, the newest first.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    at: Moment,
    change: Change,
}

impl History {
    /// Keeps the news if it is an election, a deposition or a loss.
    pub(crate) fn add(&mut self, at: Moment, key: &Key, news: &News) {
        let (what, token, reason) = match *news {
            News::Elected { token } => (What::Elected, token, None),
            News::Deposed { token, reason } => (What::Deposed, token, Some(reason)),
            News::Lost { token, reason } => (What::Lost, token, Some(reason)),
            News::Acquired { .. }
            | News::Released { .. }
            | News::LeaderChanged { .. }
            | News::StoodBack { .. } => return,
        };
        if what == What::Deposed {
            // The loss of the same ownership says nothing more.
            self.0.retain(|Entry { change: of, .. }| {
                of.what != What::Lost || of.token != token || of.key != *key
            });
        }
        let change = Change { ago: Default::default(), key: key.clone(), what, token, reason };
        self.0.push_front(Entry { at, change });
        if self.0.len() > MOST {
            // A lost session loses many locks. Drop those first, so that elections stay. The new
            // one stays in any case.
            let lost = self.0.iter().skip(1).rposition(|entry| entry.change.what == What::Lost);
            self.0.remove(lost.map_or(MOST, |place| place + 1));
        }
    }

    pub(crate) fn report(&self, now: Moment) -> Vec<Change> {
        let change = |entry: &Entry| Change { ago: now.since(entry.at), ..entry.change.clone() };
        self.0.iter().map(change).collect()
    }
}

#[cfg(test)]
mod tests;
