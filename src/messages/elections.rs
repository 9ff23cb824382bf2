//! What is asked of the runtime about leadership.

use std::time::Duration;

use actix::Message;

use crate::{
    error::Error,
    holding::{observer::Observer, tenure::Tenure},
    key::Key,
    ownership::Released,
    value::LockValue,
};

/// Asks to lead: contends for a key, and again after every loss, until
/// [`Resign`] or shutdown. The reply is the [`Tenure`], at once: it does not wait
/// for an election, and Consul need not be reachable.
///
/// All campaigns of one process for one key are one campaign; a second request
/// joins the first, whose value stays. In the key's queue it is a caller as any
/// other: an [`Acquire`](crate::Acquire) of this process for the same key waits
/// until the term is over.
///
/// If Consul refuses the lock (a right is missing, or the key holds something
/// that is no lock of ours), that is logged, and the campaign tries again after a
/// pause that grows from 1 s to 30 s.
///
/// # Errors
/// [`Error::TooManyKeys`] beyond the [`Limits`](crate::Limits);
/// [`Error::Invalid`] for a value that is too long, or if no key was given and
/// the service's name is too long for one; [`Error::Stopped`].
///
/// # Cancel safety
/// The campaign begins with the sending: dropping the reply does not end it.
/// Sending it again gives another handle.
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

    /// What the key says while this process leads by an ownership that the campaign
    /// won: one that was handed on by another caller of this process keeps what that
    /// had written. The fields of a JSON object are added to those of the default, in
    /// whose place they come; anything else is written as it is.
    ///
    /// Default: a JSON document that names the service, the host and the process,
    /// and what [`Builder::advertise`](crate::Builder::advertise),
    /// [`Builder::build`](crate::Builder::build) and
    /// [`Builder::value`](crate::Builder::value) say.
    pub fn value(self, value: impl Into<LockValue>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// Stands down from leadership. If this process leads, its term is over with the
/// sending: [`Tenure::is_leader`] is false and the work in
/// [`Term::run`](crate::Term::run) is stopped before anybody else can lead.
///
/// The campaign is over for the whole process, and with it every tenure of it;
/// with [`cool_down`](Resign::cool_down) it only pauses. An older tenure does not
/// end a newer campaign.
///
/// The reply comes when Consul has the key back, or its session has ended: how the
/// key was given back, or `None` if this process did not lead; nor does one whose
/// term has ended though it is not told yet: that is told as a loss all the same. If
/// Consul cannot be reached the reply comes at the latest at the term's deadline; if
/// it will not take the key back it can be later, as for
/// [`Release`](crate::Release).
///
/// # Cancel safety
/// Dropping the reply changes nothing: the process stands down all the same.
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

    /// Hands leadership over instead of giving it up: the campaign goes on, but
    /// does not contend for `pause`, counted from the sending, so that another
    /// process wins if one wants to. Long enough is what others need to notice,
    /// a second or two; if nobody else contends, nobody leads for that time.
    ///
    /// Default: the campaign is over.
    pub fn cool_down(self, pause: Duration) -> Self {
        Self { cool_down: Some(pause), ..self }
    }
}

/// Asks who leads a key, now and from now on, without contending. The reply is a
/// live handle, at once; the leader is known to it a moment later.
///
/// Any key that sessions of Consul lock can be observed, whoever made it. While
/// somebody holds it, it is watched; while nobody does, it is read again within
/// a second.
///
/// # Errors
/// [`Error::TooManyKeys`] beyond the [`Limits`](crate::Limits);
/// [`Error::Stopped`]. If the right to read the key is missing, that is logged
/// and tried again.
///
/// # Cancel safety
/// Observation ends when the last handle is dropped, a dropped reply's too.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Observer, Error>")]
#[must_use = "a request does nothing until it is sent"]
pub struct Observe(
    /// The key to observe.
    pub Key,
);
