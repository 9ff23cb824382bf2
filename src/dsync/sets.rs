//! The intake of requests for several keys at once.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use super::intake::{Intake, Pending, unserved};
use crate::{
    consul::ask::LockAll,
    error::Error,
    holding::{
        callers::Grant,
        lease_set::LeaseSet,
        party::{Party, Unserved},
        slot::Slot,
    },
    key::Key,
    logs,
    messages::{AcquireAll, ReleaseAll},
    ownership::Released,
    protocol::queue::Obstacle,
};

const _: () = assert!(AcquireAll::MOST_KEYS == LockAll::MOST);

impl Intake {
    pub(crate) fn acquire_all(
        &self,
        AcquireAll { keys, within, value }: AcquireAll,
    ) -> Pending<LeaseSet> {
        let asked_at = Instant::now();
        let value = self.value_of(value);
        let value = value.and_then(|value| self.check_set(&keys, value));
        let party = value.and_then(|value| Ok((self.join(&keys, value.clone())?, value)));
        let intake = self.clone();
        // Within the caller's own span.
        let span = logs::span!("wait for locks", keys = keys.len());
        let granted = async move {
            let (mut party, value) = party?;
            // An instant too far away to represent means no limit.
            let end = within.and_then(|limit| asked_at.checked_add(limit));
            loop {
                let answer = match end {
                    None => party.answer().await,
                    Some(end) => match tokio::time::timeout_at(end, party.answer()).await {
                        Ok(answer) => answer,
                        Err(_) => return Err(intake.out_of_time(&party, asked_at)),
                    },
                };
                match answer {
                    Ok(grants) => return Ok(intake.leases(grants)),
                    Err(Unserved::Refused(error)) => return Err(error),
                    Err(Unserved::Broken) => {
                        // Leave the queues before entering them again.
                        drop(party);
                        party = intake.join(&keys, value.clone())?;
                    }
                }
            }
        };
        Box::pin(logs::traced(span, Box::pin(granted)))
    }

    pub(crate) fn release_all(&self, ReleaseAll(leases): ReleaseAll) -> Pending<Released> {
        let given_back = leases.give_back();
        Box::pin(async move { Ok(given_back.await) })
    }

    /// Returns `value` if Consul can lock `keys` with it in one transaction.
    fn check_set(&self, keys: &BTreeSet<Key>, value: Arc<[u8]>) -> Result<Arc<[u8]>, Error> {
        let (count, most) = (keys.len(), AcquireAll::MOST_KEYS);
        let why = if keys.is_empty() {
            "are empty; name at least one".into()
        } else if count > most {
            format!("are {count}; one transaction locks at most {most}")
        } else {
            let prefix = self.prefix.as_deref();
            let Some(length) = LockAll::too_long(prefix, keys, value.len()) else {
                return Ok(value);
            };
            format!("need a transaction of up to {length} bytes; Consul accepts 512 KiB")
        };
        Err(Error::Invalid { field: "keys", why })
    }

    fn join(&self, keys: &BTreeSet<Key>, value: Arc<[u8]>) -> Result<Party, Error> {
        let party = Party::enter(&self.slots, keys, value)?;
        party.entered().for_each(|entered| self.announce(&entered.slot, entered.is_new));
        Ok(party)
    }

    fn leases(&self, grants: Vec<Grant>) -> LeaseSet {
        LeaseSet::of(grants, self.keep_alive.clone())
    }

    /// Why the set was not granted in time, for the key with the clearest reason.
    fn out_of_time(&self, party: &Party, asked_at: Instant) -> Error {
        let clarity = |slot: &&Arc<Slot>| match slot.callers.obstacle() {
            Some(Obstacle::Held(_)) => 0,
            Some(_) => 1,
            None => 2,
        };
        let slots = party.entered().map(|entered| &entered.slot);
        match slots.min_by_key(clarity) {
            Some(slot) => unserved(slot, asked_at.elapsed(), &self.readiness.borrow()),
            None => Error::Stopped,
        }
    }
}
