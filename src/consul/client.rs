//! The seam: every question to Consul, over whichever transport.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use tokio::time::Instant;

use super::{
    batch::Batches,
    fact::{
        Created, Destroyed, Fence, Listed, Locked, Raised, Recorded, Released, Renewed, Seen,
        SessionId, SessionSeen, SessionsSeen, StaleFences, Trouble,
    },
    http::{Http, HttpConfig, Purpose},
    reply::{self, Answer},
    request::{self, Lock, NewSession, Record, Release, ReleaseHow},
    wire::{WireReply, WireRequest},
};
use crate::{
    key::{Key, RESERVED},
    secret::Secret,
};

/// How Consul is reached.
enum Transport {
    Http(Box<Http>),
    /// An agent in this process, without a socket.
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Embedded),
    #[cfg(test)]
    Scripted(script::Script),
}

/// One agent, and the prefix below which this runtime's keys lie.
///
/// It is cheap to clone and belongs to one thread. Each question has a time
/// limit on its whole answer. None is repeated here: what to make of an unknown
/// outcome is the caller's affair.
///
/// # Cancel safety
/// A question whose future is dropped may still take effect in Consul.
#[derive(Clone)]
pub(crate) struct Consul(Rc<Inner>);

struct Inner {
    transport: Transport,
    token: Option<Secret>,
    /// Ends in `/` unless it is empty.
    prefix: String,
    batches: RefCell<Batches>,
}

impl Consul {
    /// Makes no connection yet. `prefix` is a valid path without a slash at
    /// either end.
    ///
    /// # Errors
    /// What is wrong with the address, the token or the TLS configuration.
    pub(crate) fn over_http(config: &HttpConfig, prefix: Option<&str>) -> Result<Self, String> {
        let transport = Transport::Http(Box::new(Http::new(config)?));
        Ok(Self::over(transport, config.token.clone(), prefix))
    }

    /// Asks an agent in this process.
    #[cfg(feature = "embedded")]
    pub(crate) fn over_embedded(embedded: crate::embedded::Embedded, prefix: Option<&str>) -> Self {
        Self::over(Transport::Embedded(embedded), None, prefix)
    }

    fn over(transport: Transport, token: Option<Secret>, prefix: Option<&str>) -> Self {
        let prefix = prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
        let batches = RefCell::default();
        Self(Rc::new(Inner { transport, token, prefix, batches }))
    }

    pub(crate) async fn create_session(&self, new: &NewSession, limit: Duration) -> Created {
        let request = request::create_session(new);
        match self.ask(Purpose::Call, request, limit).await {
            Ok(reply) => reply::created(self.answer(&reply)),
            Err(trouble) => Created::Unknown(trouble),
        }
    }

    /// The sessions of that name.
    pub(crate) async fn sessions_of(&self, name: &str, limit: Duration) -> SessionsSeen {
        match self.ask(Purpose::List, request::list_sessions(), limit).await {
            Ok(reply) => reply::sessions_of(self.answer(&reply), name),
            Err(trouble) => SessionsSeen::Unknown(trouble),
        }
    }

    pub(crate) async fn renew_session(&self, id: &SessionId, limit: Duration) -> Renewed {
        let request = request::renew_session(id);
        match self.ask(Purpose::Renewal, request, limit).await {
            Ok(reply) => reply::renewed(self.answer(&reply), id),
            Err(trouble) => Renewed::Unknown(trouble),
        }
    }

    pub(crate) async fn session_info(&self, id: &SessionId, limit: Duration) -> SessionSeen {
        let request = request::session_info(id);
        match self.ask(Purpose::Call, request, limit).await {
            Ok(reply) => reply::session_seen(self.answer(&reply), id),
            Err(trouble) => SessionSeen::Unknown(trouble),
        }
    }

    pub(crate) async fn destroy_session(&self, id: &SessionId, limit: Duration) -> Destroyed {
        let request = request::destroy_session(id);
        match self.ask(Purpose::Call, request, limit).await {
            Ok(reply) => reply::destroyed(self.answer(&reply)),
            Err(trouble) => Destroyed::Unknown(trouble),
        }
    }

    /// One lock in a transaction of its own.
    pub(super) async fn lock_alone(&self, ask: &Lock, limit: Duration) -> Locked {
        let (key, fence_key) = (self.full(&ask.key), self.fence_key(&ask.session));
        let request = request::lock(&key, &fence_key, ask);
        match self.ask(Purpose::Call, request, limit).await {
            Ok(reply) => {
                reply::locked(self.answer(&reply), &key, &fence_key, &ask.session, ask.fence)
            }
            Err(trouble) => Locked::unanswered(trouble),
        }
    }

    pub(crate) async fn release(&self, ask: &Release, limit: Duration) -> Released {
        let key = self.full(&ask.key);
        let keeps = matches!(ask.how, ReleaseHow::Keep { .. });
        match self.ask(Purpose::Call, request::release(&key, ask), limit).await {
            Ok(reply) => reply::released(self.answer(&reply), &key, &ask.session, keeps),
            Err(trouble) => Released::Unknown(trouble),
        }
    }

    /// What the key is now.
    pub(crate) async fn read(&self, key: &Key, limit: Duration) -> Seen {
        self.read_full(&self.full(key), limit).await
    }

    /// What the key is when its index passes `after`, or after `wait`.
    ///
    /// `grace` is the time limit on top of the wait; the sixteenth of the wait by
    /// which Consul may prolong it is allowed for.
    pub(crate) async fn watch(
        &self,
        key: &Key,
        after: u64,
        wait: Duration,
        grace: Duration,
    ) -> Seen {
        let key = self.full(key);
        let limit = prolonged(wait, grace);
        match self.ask(Purpose::Watch, request::watch(&key, after, wait), limit).await {
            Ok(reply) => reply::seen(self.answer(&reply), &key),
            Err(trouble) => Seen::Unknown(trouble),
        }
    }

    /// As [`read`](Self::read), over the connections of the blocking reads.
    pub(crate) async fn check(&self, key: &Key, limit: Duration) -> Seen {
        let key = self.full(key);
        match self.ask(Purpose::Watch, request::read(&key), limit).await {
            Ok(reply) => reply::seen(self.answer(&reply), &key),
            Err(trouble) => Seen::Unknown(trouble),
        }
    }

    /// What lies under a string prefix of keys: at once, as the leader has it, or
    /// when the prefix's index passes `after`, or after `wait`; `grace` as for
    /// [`watch`](Self::watch).
    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
        grace: Duration,
    ) -> Listed {
        let own = self.0.prefix.len();
        let prefix = format!("{}{prefix}", self.0.prefix);
        let limit = if after.is_some() { prolonged(wait, grace) } else { grace };
        match self.ask(Purpose::List, request::list(&prefix, after, wait), limit).await {
            Ok(reply) => reply::listed(self.answer(&reply), &prefix, own),
            Err(trouble) => Listed::Unknown(trouble),
        }
    }

    /// How many reads the transport carries beside renewals and calls, as far as
    /// it knows.
    pub(crate) fn watch_room(&self) -> Option<usize> {
        match &self.0.transport {
            Transport::Http(http) => http.watch_room(),
            #[cfg(feature = "embedded")]
            Transport::Embedded(_) => None,
            #[cfg(test)]
            Transport::Scripted(_) => None,
        }
    }

    /// Makes every lock of the session that was sent with the fence `from` fail,
    /// whenever it arrives. A fence of unknown use is raised as a new one.
    pub(crate) async fn raise_fence(
        &self,
        session: &SessionId,
        from: Fence,
        limit: Duration,
    ) -> Raised {
        let key = self.fence_key(session);
        match self.ask(Purpose::Call, request::raise_fence(&key, session, from), limit).await {
            Ok(reply) => reply::raised(self.answer(&reply), &key, session, from),
            Err(trouble) => Raised::Unknown(trouble),
        }
    }

    /// The session's fence entry; [`Seen::Missing`] is [`Fence::Unraised`].
    pub(crate) async fn read_fence(&self, session: &SessionId, limit: Duration) -> Seen {
        self.read_full(&self.fence_key(session), limit).await
    }

    /// Removes the fence entry of a session that has ended: an entry that is gone
    /// fences nothing.
    pub(crate) async fn delete_fence(&self, session: &SessionId, limit: Duration) -> Destroyed {
        let key = self.fence_key(session);
        match self.ask(Purpose::Call, request::delete_fence(&key), limit).await {
            Ok(reply) => reply::fence_deleted(self.answer(&reply), &key),
            Err(trouble) => Destroyed::Unknown(trouble),
        }
    }

    /// The fence entries that no session locks.
    pub(crate) async fn stale_fences(&self, limit: Duration) -> StaleFences {
        let prefix = format!("{}{RESERVED}/", self.0.prefix);
        match self.ask(Purpose::List, request::list(&prefix, None, limit), limit).await {
            Ok(reply) => reply::stale_fences(self.answer(&reply), &prefix),
            Err(trouble) => StaleFences::Unknown(trouble),
        }
    }

    /// Removes fence entries that stand as they were seen. Whether it did shows when
    /// they are next listed.
    pub(crate) async fn delete_stale_fences(&self, stale: &[(SessionId, u64)], limit: Duration) {
        let stale: Vec<_> =
            stale.iter().map(|(session, index)| (self.fence_key(session), *index)).collect();
        let request = request::delete_stale_fences(&stale);
        drop(self.ask(Purpose::Call, request, limit).await);
    }

    /// Records something beside a key that our session holds.
    pub(crate) async fn record(&self, ask: &Record, limit: Duration) -> Recorded {
        let (key, record_key) = (self.full(&ask.key), self.record_key(&ask.key));
        let request = request::record(&key, &record_key, ask);
        match self.ask(Purpose::Call, request, limit).await {
            Ok(reply) => {
                let answer = self.answer(&reply);
                reply::recorded(answer, &key, &record_key, &ask.session, ask.after)
            }
            Err(trouble) => Recorded::Unknown(trouble),
        }
    }

    /// What was last recorded beside the key.
    pub(crate) async fn read_record(&self, key: &Key, limit: Duration) -> Seen {
        self.read_full(&self.record_key(key), limit).await
    }

    async fn read_full(&self, key: &str, limit: Duration) -> Seen {
        match self.ask(Purpose::Call, request::read(key), limit).await {
            Ok(reply) => reply::seen(self.answer(&reply), key),
            Err(trouble) => Seen::Unknown(trouble),
        }
    }

    pub(super) async fn ask(
        &self,
        purpose: Purpose,
        request: WireRequest,
        limit: Duration,
    ) -> Result<WireReply, Trouble> {
        let asked_at = Instant::now();
        let (method, target) = (request.method, request.target.clone());
        let result = match &self.0.transport {
            Transport::Http(http) => http.exchange(purpose, request, limit).await,
            #[cfg(feature = "embedded")]
            Transport::Embedded(embedded) => within(limit, embedded.exchange(request)).await,
            #[cfg(test)]
            Transport::Scripted(script) => within(limit, script.exchange(request)).await,
        };
        let elapsed = asked_at.elapsed();
        match &result {
            Ok(reply) => {
                tracing::trace!(?method, %target, status = reply.status, ?elapsed, "Consul answered");
            }
            Err(trouble) => {
                tracing::trace!(?method, %target, %trouble, ?elapsed, "Consul did not answer");
            }
        }
        result
    }

    pub(super) fn answer<'a>(&'a self, reply: &'a WireReply) -> Answer<'a> {
        Answer::new(reply, self.0.token.as_ref())
    }

    /// The locks under way and in line.
    pub(super) fn batches(&self) -> &RefCell<Batches> {
        &self.0.batches
    }

    pub(super) fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.0.prefix)
    }

    pub(super) fn fence_key(&self, session: &SessionId) -> String {
        format!("{}{RESERVED}/{session}", self.0.prefix)
    }

    fn record_key(&self, key: &Key) -> String {
        format!("{}{RESERVED}/every/{key}", self.0.prefix)
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

/// The time limit of a blocking read: Consul may prolong its wait by a sixteenth.
fn prolonged(wait: Duration, grace: Duration) -> Duration {
    wait.saturating_add(wait / 16).saturating_add(grace)
}

/// The limit of a transport that keeps none itself.
#[cfg(any(test, feature = "embedded"))]
async fn within(
    limit: Duration,
    exchange: impl Future<Output = Result<WireReply, Trouble>>,
) -> Result<WireReply, Trouble> {
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Trouble::Timeout(limit)))
}

#[cfg(test)]
#[path = "client_script.rs"]
mod script;

#[cfg(test)]
#[path = "client_tests.rs"]
pub(super) mod tests;
