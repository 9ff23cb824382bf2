//! The intake of requests to write under a lock.

use crate::{
    consul::ask::MOST_ENTRIES,
    dsync::intake::{Intake, Pending},
    error::Error,
    holding::{callers::Content, claim::Claim},
    messages::{UpdateValue, Write},
    value::LockValue,
};

impl Intake {
    pub(crate) fn update_value(&self, UpdateValue { claim, value }: UpdateValue) -> Pending<()> {
        let content = value.to_bytes().map(|value| Content::Value(value.into()));
        self.write_under(&claim, content)
    }

    pub(crate) fn write(&self, write: Write) -> Pending<()> {
        let content = self.check(&write).map(|()| Content::Entries(write.ops.into()));
        self.write_under(&write.claim, content)
    }

    fn write_under(&self, claim: &Claim, content: Result<Content, Error>) -> Pending<()> {
        let answer = content.and_then(|content| self.slots.write(&claim.0, content));
        Box::pin(async move { answer?.await.unwrap_or(Err(Error::Stopped)) })
    }

    /// Checks what Consul would refuse, and that no entry is a lock in use here.
    fn check(&self, write: &Write) -> Result<(), Error> {
        let invalid = |why: String| Err(Error::Invalid { field: "write", why });
        let count = write.ops.len();
        if count == 0 || count > MOST_ENTRIES {
            return invalid(format!("has {count} operations; 1 to {MOST_ENTRIES} are allowed"));
        }
        let bytes: usize = write.ops.iter().map(|op| op.size()).sum();
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
