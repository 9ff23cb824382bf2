//! Requests for permits of a semaphore.

use std::time::Duration;

use actix::Message;

use crate::{consul::roster, error::Error, holding::lease::Lease, key::Key, value::LockValue};

/// Requests a permit of a semaphore and waits for it. The reply is the [`Lease`].
///
/// At most `limit` processes hold a permit of the semaphore at the same time. All of them
/// must use the same limit. A permit is like a lock: its lease ends by itself if this
/// process is cut off, [`LockLost`](crate::events::LockLost) reports a loss, and
/// [`Release`](crate::Release) or a drop gives it back.
///
/// **A process has one permit of a semaphore at a time.** The holders of a semaphore are
/// sessions, as for `consul lock -n` and Go's client, and a process has one session. Further
/// callers of the process wait in line, in the order of their requests. A process that needs
/// several permits at once starts several runtimes.
///
/// The lease's [key](Lease::key) is the semaphore's entry in Consul, `<prefix>/.lock`: errors,
/// events and reports name it. Its [token](Lease::token) orders the grants of a semaphore over
/// all processes; see the guide for what a resource can do with it.
///
/// If a holder's process dies, its permit passes on once its session has ended and its
/// lock-delay has passed: with the defaults within 50 s, or within 100 s if no process waited
/// for a permit while the holder lived. HashiCorp's clients do not wait for the lock-delay.
///
/// The request waits without a limit unless [`within`](Self::within) sets one, even while
/// Consul is unreachable. While it waits, it lists the entries of the semaphore every 1 to 2
/// seconds.
///
/// # Errors
/// [`Error::NoPermit`] after the time limit; [`Error::LimitConflict`] if the semaphore has
/// another limit; [`Error::NoSemaphore`] if its entry cannot be understood; [`Error::Invalid`]
/// if the limit is not between 1 and [`MOST_PERMITS`](Self::MOST_PERMITS), the prefix is too
/// long, or the [value](Self::value) is too long for the limit; otherwise the errors of
/// [`Acquire`](crate::Acquire).
///
/// # Cancel safety
/// As for [`Acquire`](crate::Acquire).
///
/// ```
/// # use std::time::Duration;
/// # use actix_dsync::{AcquirePermit, Dsync, Key};
/// # async fn call_the_slow_service() {}
/// # async fn example(dsync: &Dsync) -> Result<(), Box<dyn std::error::Error>> {
/// let request = AcquirePermit::new(Key::new("slow-service")?, 3);
/// let permit = dsync.send(request.within(Duration::from_secs(10))).await?;
/// permit.run(call_the_slow_service()).await?; // dropped if the permit is lost
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Lease, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct AcquirePermit {
    pub(crate) prefix: Key,
    pub(crate) limit: u32,
    pub(crate) within: Option<Duration>,
    pub(crate) value: Option<LockValue>,
}

impl AcquirePermit {
    /// The largest limit: 4,096.
    pub const MOST_PERMITS: u32 = roster::MOST_PERMITS;

    /// The most bytes that the values of all permits of a semaphore have together, each with the
    /// semaphore's prefix: 2 MiB. One answer of limited length lists the entries of a semaphore.
    pub const MOST_VALUE_BYTES: usize = 2 * 1024 * 1024;

    /// Requests one of `limit` permits of the semaphore below `prefix`.
    pub fn new(prefix: Key, limit: u32) -> Self {
        Self { prefix, limit, within: None, value: None }
    }

    /// The prefix of the semaphore.
    #[must_use]
    pub fn prefix(&self) -> &Key {
        &self.prefix
    }

    /// How many permits the semaphore has.
    #[must_use]
    pub fn permits(&self) -> u32 {
        self.limit
    }

    /// Limits the wait to `limit`, counted from when the request is sent.
    ///
    /// Default: no limit.
    pub fn within(self, limit: Duration) -> Self {
        Self { within: Some(limit), ..self }
    }

    /// Sets the value of this process's own entry, `<prefix>/<session>`, while it holds the
    /// permit. It has at most [`MOST_VALUE_BYTES`](Self::MOST_VALUE_BYTES) divided by the limit,
    /// less the length of the prefix: with the largest limit, 512 bytes less the prefix. A longer
    /// one is refused with [`Error::Invalid`] and the field `value`.
    ///
    /// Default: as for [`Acquire::value`](crate::Acquire::value). The same bound applies.
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Requests a permit of a semaphore if one is free. The reply is the [`Lease`].
///
/// The request does not wait for a holder, nor for another caller of this process that has
/// the permit. It waits for Consul's answers and, during the start or after a lost session,
/// for the session.
///
/// # Errors
/// [`Error::NoPermit`] at once; otherwise those of [`AcquirePermit`].
///
/// # Cancel safety
/// As for [`AcquirePermit`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Lease, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct TryAcquirePermit {
    pub(crate) prefix: Key,
    pub(crate) limit: u32,
    pub(crate) value: Option<LockValue>,
}

impl TryAcquirePermit {
    /// Requests one of `limit` permits of the semaphore below `prefix`.
    pub fn new(prefix: Key, limit: u32) -> Self {
        Self { prefix, limit, value: None }
    }

    /// The prefix of the semaphore.
    #[must_use]
    pub fn prefix(&self) -> &Key {
        &self.prefix
    }

    /// How many permits the semaphore has.
    #[must_use]
    pub fn permits(&self) -> u32 {
        self.limit
    }

    /// Sets the value of this process's own entry, as for [`AcquirePermit::value`].
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}
