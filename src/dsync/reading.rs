//! The intake of requests that read from Consul.

use std::time::Duration;

use tokio::sync::oneshot;

use super::inspector::{RunTask, Task};
use crate::{
    consul::{
        ask::{Read, SessionInfo},
        client::Consul,
        fact::{Entry, SessionSeen},
        roster::SEMAPHORE_FLAGS,
    },
    dsync::intake::{Intake, Pending},
    error::Error,
    key::Key,
    messages::{Inspect, ReadEntry, StoredEntry},
    ownership::Holder,
    token::FencingToken,
};

impl Intake {
    pub(crate) fn inspect(&self, Inspect(key): Inspect) -> Pending<Option<Holder>> {
        self.read_with(move |consul, limit| async move { holder_of(&consul, key, limit).await })
    }

    pub(crate) fn read_entry(&self, ReadEntry(key): ReadEntry) -> Pending<Option<StoredEntry>> {
        let of_locks = [self.slots.flags(), SEMAPHORE_FLAGS];
        self.read_with(move |consul, limit| async move {
            let Some(Entry { value, flags, modify_index: index, .. }) =
                entry_of(&consul, key, limit).await?
            else {
                return Ok(None);
            };
            let is_token = flags > 0 && !of_locks.contains(&flags);
            let token = FencingToken::try_from(flags).ok().filter(|_| is_token);
            Ok(Some(StoredEntry { value: value.into(), token, index }))
        })
    }

    /// Acts on the runtime's thread, even if the caller has gone.
    pub(super) fn act_with<T: Send + 'static, F>(
        &self,
        act: impl FnOnce(Consul, Duration) -> F + Send + 'static,
    ) -> Pending<T>
    where
        F: Future<Output = Result<T, Error>> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        if !self.slots.is_stopped() {
            // The runtime goes on until the task has ended.
            let keep_alive = self.keep_alive.clone();
            let task: Task = Box::new(move |consul, limit| {
                Box::pin(async move {
                    let _keep_alive = keep_alive;
                    // Fails if the caller has gone, which is fine.
                    let _ = reply.send(act(consul, limit).await);
                })
            });
            self.inspector.do_send(RunTask { task, reads: false });
        }
        Box::pin(async move { answer.await.unwrap_or(Err(Error::Stopped)) })
    }

    /// Reads on the runtime's thread, as one of a limited number of concurrent tasks.
    pub(super) fn read_with<T: Send + 'static, F>(
        &self,
        read: impl FnOnce(Consul, Duration) -> F + Send + 'static,
    ) -> Pending<T>
    where
        F: Future<Output = Result<T, Error>> + 'static,
    {
        let intake = self.clone();
        Box::pin(async move {
            if intake.slots.is_stopped() {
                return Err(Error::Stopped);
            }
            let (reply, answer) = oneshot::channel();
            let task: Task = Box::new(move |consul, limit| {
                Box::pin(async move {
                    if !reply.is_closed() {
                        // Fails if the caller has gone, which is fine.
                        let _ = reply.send(read(consul, limit).await);
                    }
                })
            });
            intake.inspector.do_send(RunTask { task, reads: true });
            answer.await.unwrap_or(Err(Error::Stopped))
        })
    }
}

pub(super) async fn entry_of(
    consul: &Consul,
    key: Key,
    limit: Duration,
) -> Result<Option<Entry>, Error> {
    consul.ask(&Read::Key(key.clone()), limit).await.into_entry(&key)
}

async fn holder_of(consul: &Consul, key: Key, limit: Duration) -> Result<Option<Holder>, Error> {
    let Some(entry) = entry_of(consul, key, limit).await? else { return Ok(None) };
    let Some(session) = entry.session.clone() else { return Ok(None) };
    let names = match consul.ask(&SessionInfo { session }, limit).await {
        SessionSeen::Exists { name, node, .. } => Some((name, node)),
        // The holder is known; its names are optional.
        _ => None,
    };
    Ok(entry.into_holder(names))
}
