//! The client of one agent, over any link.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use tokio::time::Instant;

use super::{
    answer::Answer,
    ask::{Ask, Keyspace},
    batches::Batches,
    fact::Trouble,
    http::{Http, HttpConfig, Purpose},
    link::{Backend, Link},
    turns::Tell,
    wire::{WireReply, WireRequest},
};
use crate::secret::Secret;

/// The client of one agent, with the prefix of this runtime's keys.
///
/// It is cheap to clone and belongs to one thread. Each question has a time limit for its
/// complete answer. The caller decides what to do about an unknown outcome.
///
/// # Cancel safety
/// A question whose future is dropped may still take effect in Consul.
#[derive(Clone)]
pub(crate) struct Consul(Rc<Inner>);

struct Inner {
    link: Link,
    token: Option<Secret>,
    keys: Keyspace,
    batches: Rc<RefCell<Batches<Tell>>>,
}

impl Consul {
    /// Creates a client that is not connected yet. `prefix` is a valid path without a slash
    /// at either end.
    ///
    /// # Errors
    /// What is wrong with the address, the token or the TLS configuration.
    pub(crate) fn over_http(config: &HttpConfig, prefix: Option<&str>) -> Result<Self, String> {
        let link = Link::Http(Box::new(Http::new(config)?));
        Ok(Self::over(link, config.token.clone(), prefix))
    }

    /// Creates a client that uses `backend`, without an ACL token.
    #[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "handed in by features"))]
    pub(crate) fn over_backend(backend: impl Backend + 'static, prefix: Option<&str>) -> Self {
        Self::over(Link::Backend(Box::new(backend)), None, prefix)
    }

    fn over(link: Link, token: Option<Secret>, prefix: Option<&str>) -> Self {
        let (keys, batches) = (Keyspace::below(prefix), Rc::default());
        Self(Rc::new(Inner { link, token, keys, batches }))
    }

    /// Asks one question. The answer arrives within `limit`. A blocking read is answered
    /// within `limit` after its wait.
    ///
    /// Use [`lock`](Self::lock) for locks.
    pub(crate) async fn ask<A: Ask>(&self, ask: &A, limit: Duration) -> A::Fact {
        let keys = &self.0.keys;
        match self.exchange(ask.purpose(), ask.request(keys), ask.limit(limit)).await {
            Ok(reply) => ask.read(keys, Answer::new(&reply, self.0.token.as_ref())),
            Err(trouble) => ask.unanswered(trouble),
        }
    }

    /// The connections to the agent, if the link is HTTP.
    pub(crate) fn connections(&self) -> Option<&Http> {
        match &self.0.link {
            Link::Http(http) => Some(http),
            Link::Backend(_) => None,
        }
    }

    async fn exchange(
        &self,
        purpose: Purpose,
        request: WireRequest,
        limit: Duration,
    ) -> Result<WireReply, Trouble> {
        let asked_at = Instant::now();
        let (method, target) = (request.method, request.target.clone());
        let result = self.0.link.exchange(purpose, request, limit).await;
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

    /// The lock requests in flight and in line.
    pub(super) fn batches(&self) -> &Rc<RefCell<Batches<Tell>>> {
        &self.0.batches
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul").field("keys", &self.0.keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "client_script.rs"]
mod script;

#[cfg(test)]
pub(super) mod tests;
