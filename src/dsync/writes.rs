//! The intake of requests to write under a lock.

use std::sync::Arc;

use crate::{
    consul::ask::{EntryOp, MOST_ENTRIES},
    dsync::intake::{Intake, Pending},
    error::Error,
    holding::{callers::Content, claim::Claim, lease_state::LeaseState},
    key::Key,
    messages::{UpdateValue, Write},
    value::LockValue,
};

impl Intake {
    pub(crate) fn update_value(&self, UpdateValue { claim, value }: UpdateValue) -> Pending<()> {
        let content = value.to_bytes().map(|value| Content::Value(value.into()));
        self.write_under(&claim, &[], content)
    }

    pub(crate) fn write(&self, write: Write) -> Pending<()> {
        let content = self.check(&write).map(|()| {
            let guards = write.guards();
            Content::Entries(guards.chain(write.ops.iter().cloned()).collect())
        });
        let written = self.write_under(&write.claim, &write.others, content);
        Box::pin(async move {
            match written.await {
                Err(Error::Conflict { key }) => Err(refusal(&write.others, key)),
                other => other,
            }
        })
    }

    fn write_under(
        &self,
        claim: &Claim,
        others: &[Arc<LeaseState>],
        content: Result<Content, Error>,
    ) -> Pending<()> {
        let answer = content.and_then(|content| self.slots.write(&claim.0, others, content));
        Box::pin(async move { answer?.await.unwrap_or(Err(Error::Stopped)) })
    }

    /// Checks what Consul would refuse, and that no entry is a lock in use here.
    fn check(&self, write: &Write) -> Result<(), Error> {
        let invalid = |why: String| Err(Error::Invalid { field: "write", why });
        let (count, most) = (write.ops.len(), MOST_ENTRIES.saturating_sub(write.others.len()));
        if count == 0 || count > most {
            return invalid(format!("has {count} operations; 1 to {most} are allowed"));
        }
        let guards: usize = write.guards().map(|op| op.size()).sum();
        let bytes = guards + write.ops.iter().map(EntryOp::size).sum::<usize>();
        let most = LockValue::MAX_LEN;
        if bytes > most {
            return invalid(format!(
                "has {bytes} bytes of values and keys; at most {most} are allowed"
            ));
        }
        let is_lock = |key| self.slots.get(key).is_some();
        match write.ops.iter().map(|op| op.key()).find(|key| is_lock(key)) {
            Some(key) => invalid(format!("names {key}, which this process uses as a lock")),
            None => Ok(()),
        }
    }
}

/// Why a write was refused because of the state of `key`.
fn refusal(others: &[Arc<LeaseState>], key: Key) -> Error {
    match others.iter().find(|lease| *lease.key() == key) {
        Some(lease) => Error::NotHeld { token: lease.token(), key },
        None => Error::Conflict { key },
    }
}
