//! Requests for leadership.

use std::time::Duration;

use actix::Message;

use crate::{
    error::Error,
    holding::{observer::Observer, tenure::Tenure},
    key::Key,
    ownership::Released,
    value::LockValue,
};

/// Starts a campaign: contends for leadership of a key, and again after every loss,
/// until [`Resign`] or shutdown.
///
/// The reply, a [`Tenure`], comes at once: it does not wait for an election, and
/// Consul need not be reachable.
///
/// All campaigns of one process for the same key are one campaign: a second request
/// joins the first, whose value stays. The campaign queues for the key like any other
/// caller: an [`Acquire`](crate::Acquire) of this process for the same key waits until
/// the term has ended.
///
/// If Consul refuses the lock, because a right is missing or the key holds something
/// that is not one of our locks, the refusal is logged. The campaign tries again after a
/// pause that grows from 1 s to 30 s.
///
/// # Errors
/// [`Error::TooManyKeys`] beyond the [`Limits`](crate::config::Limits);
/// [`Error::FlagConflict`] if this process uses the key as a semaphore; [`Error::Invalid`] if the
/// value is too long, or if no key is given and the service's name is too long for a key;
/// [`Error::Stopped`].
///
/// # Cancel safety
/// The campaign starts when the request is sent; dropping the reply does not end it.
/// Send the request again to get another handle.
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<Tenure, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Campaign {
    pub(crate) key: Option<Key>,
    pub(crate) value: Option<LockValue>,
}

impl Campaign {
    /// Campaigns for `key`.
    ///
    /// Default: `service/<name>/leadership`, with the name of the runtime's
    /// service, escaped as by [`Key::join`]. All programs that give themselves the same
    /// name share it: set a [prefix](crate::Builder::prefix) where unrelated services
    /// use one Consul. A follower logs a leader whose binary, service or build is
    /// another.
    pub fn on(key: Key) -> Self {
        Self { key: Some(key), value: None }
    }

    /// The key; `None` for the default.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Sets the key's value while this process leads by an ownership that the campaign
    /// acquired, or that another caller of this process handed over to it. If `value` is a
    /// JSON object, its fields extend the default's and replace equal names; any other value
    /// replaces the default.
    ///
    /// Default: a JSON document that names the service, the host and the process, with
    /// the values of [`Builder::advertise`](crate::Builder::advertise),
    /// [`Builder::build`](crate::Builder::build) and
    /// [`Builder::value`](crate::Builder::value).
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Resigns from leadership.
///
/// If this process leads, its term ends when the request is sent:
/// [`Tenure::is_leader`] is false, and the work in [`Term::run`](crate::Term::run) is
/// stopped before anybody else can lead.
///
/// The campaign and all its tenures end for the whole process; with
/// [`cool_down`](Resign::cool_down) the campaign only pauses. An older tenure does not
/// end a newer campaign.
///
/// The reply comes when Consul has confirmed the release, or the session has ended. It
/// is the outcome of the release, or `None` if this process did not lead. `None` also
/// covers a term that has expired unreported; it is still reported as a loss. A second
/// request gets the outcome of the first, while that is not confirmed yet. If Consul
/// is unreachable, the reply comes at the term's deadline at the latest. If Consul
/// refuses the release, it can come later, as for [`Release`](crate::Release).
///
/// # Errors
/// None: every reply is an outcome.
///
/// # Cancel safety
/// Dropping the reply changes nothing: the process still resigns.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<Released>, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Resign {
    pub(crate) tenure: Tenure,
    pub(crate) cool_down: Option<Duration>,
}

impl Resign {
    /// Ends the campaign behind `tenure`.
    pub fn of(tenure: &Tenure) -> Self {
        Self { tenure: tenure.clone(), cool_down: None }
    }

    /// The tenure that ends.
    #[must_use]
    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Hands leadership over instead of giving it up: the campaign continues, but does
    /// not contend for `pause`, counted from when the request is sent, so that another
    /// candidate wins. A second or two is enough for others to notice. If nobody else
    /// contends, nobody leads during the pause.
    ///
    /// Default: the campaign ends.
    pub fn cool_down(self, pause: Duration) -> Self {
        Self { cool_down: Some(pause), ..self }
    }
}

/// Observes the leader of a key without contending. The reply, an [`Observer`], comes
/// at once; it knows the leader a moment later.
///
/// Any key that Consul sessions lock can be observed, whoever created it, except for the entry
/// of a semaphore that this process uses. The key is watched while somebody holds it, and
/// otherwise read again within a second.
///
/// # Errors
/// [`Error::TooManyKeys`] beyond the [`Limits`](crate::config::Limits);
/// [`Error::FlagConflict`] if this process uses the key as a semaphore; [`Error::Stopped`]. If the
/// right to read the key is missing, this is logged and the read is repeated.
///
/// # Cancel safety
/// The observation ends when the last observer is dropped, or its reply.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Observer, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Observe(
    /// The key to observe.
    pub Key,
);
