//! The waiting blocking reads, indexed so that a change wakes only those that it
//! may answer, even among ten thousand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::oneshot;

use super::api::{Api, Parked};
use crate::clock::Moment;

/// The waiting blocking reads, indexed by what can wake them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    /// Reads of an existing key: only a change of that key wakes them.
    by_key: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// All other reads: any change may wake them.
    broad: BTreeSet<u64>,
    /// When each read checks again by itself.
    naps: BTreeSet<(Moment, u64)>,
}

#[derive(Debug)]
struct Waiter {
    parked: Arc<Parked>,
    until: Moment,
    wake: oneshot::Sender<()>,
}

impl Waiters {
    /// Adds a read that checks again by itself at `until`. The receiver completes
    /// if the read must check earlier.
    pub(super) fn add(
        &mut self,
        parked: &Arc<Parked>,
        until: Moment,
    ) -> (u64, oneshot::Receiver<()>) {
        let (wake, woken) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match parked.existing_key() {
            Some(key) => {
                self.by_key.entry(key.to_vec()).or_default().insert(ticket);
            }
            None => {
                self.broad.insert(ticket);
            }
        }
        self.naps.insert((until, ticket));
        self.all.insert(ticket, Waiter { parked: Arc::clone(parked), until, wake });
        (ticket, woken)
    }

    /// Removes a read; does nothing if it is gone.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<oneshot::Sender<()>> {
        let waiter = self.all.remove(&ticket)?;
        self.naps.remove(&(waiter.until, ticket));
        match waiter.parked.existing_key() {
            Some(key) => {
                if let Some(same) = self.by_key.get_mut(key) {
                    same.remove(&ticket);
                    if same.is_empty() {
                        self.by_key.remove(key);
                    }
                }
            }
            None => {
                self.broad.remove(&ticket);
            }
        }
        Some(waiter.wake)
    }

    /// Wakes the reads that can be answered at `now`, after the keys `touched`
    /// changed (`None`: any key may have changed). Also wakes the reads that would
    /// otherwise sleep past the engine's next own change.
    pub(super) fn wake(&mut self, api: &Api, now: Moment, touched: Option<&[Vec<u8>]>) {
        let mut woken: Vec<u64> = Vec::new();
        if let Some(due) = api.next_wakeup() {
            let late = self.naps.iter().rev().take_while(|(until, _)| *until > due);
            woken.extend(late.map(|(_, ticket)| *ticket));
        }
        let ready = |ticket: &&u64| {
            self.all.get(ticket).is_some_and(|waiter| api.is_ready(now, &waiter.parked))
        };
        match touched {
            None => woken.extend(self.all.keys().filter(ready)),
            Some(keys) => {
                woken.extend(self.broad.iter().filter(ready));
                let watching = keys.iter().filter_map(|key| self.by_key.get(key));
                woken.extend(watching.flatten().filter(ready));
            }
        }
        for ticket in woken {
            if let Some(wake) = self.remove(ticket) {
                // Fails if the read was abandoned, which is fine.
                let _ = wake.send(());
            }
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }
}
