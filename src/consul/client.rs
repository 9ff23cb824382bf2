//! The client of one agent, over any link.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    answer::Answer,
    ask::{Ask, Keyspace, Scope},
    batches::Batches,
    credentials::{Credentials, LOOK_PERIOD, Token, TokenSource},
    fact::Trouble,
    http::{Http, HttpConfig, Purpose},
    limit::Limit,
    link::{Backend, Link},
    places::Tell,
    wire::{Method, WireReply, WireRequest},
};
use crate::logs;

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
    link: Rc<Link>,
    credentials: Rc<Credentials>,
    keys: Keyspace,
    batches: Rc<RefCell<Batches<Tell>>>,
}

impl Consul {
    /// Creates a client that is not connected yet. `prefix` is a valid path without a slash
    /// at either end. Belongs to an actix runtime.
    ///
    /// # Errors
    /// What is wrong with the address, the token or the TLS configuration.
    pub(crate) fn over_http(
        config: &HttpConfig,
        token: TokenSource,
        prefix: Option<&str>,
        scope: Scope,
    ) -> Result<Self, String> {
        let first = token.first()?;
        let link = Link::Http(Box::new(Http::new(config)?));
        let client = Self::over(link, token, first, Keyspace::below(prefix).within(scope));
        if client.0.credentials.may_change() {
            client.tend_credentials();
        }
        Ok(client)
    }

    /// Creates a client that uses `backend`, without an ACL token.
    #[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "handed in by features"))]
    pub(crate) fn over_backend(backend: impl Backend + 'static, prefix: Option<&str>) -> Self {
        let link = Link::Backend(Box::new(backend));
        Self::over(link, TokenSource::Fixed(None), None, Keyspace::below(prefix))
    }

    fn over(link: Link, source: TokenSource, first: Option<Token>, keys: Keyspace) -> Self {
        let link = Rc::new(link);
        let credentials = Credentials::new(source, first, link.clone(), keys.clone());
        Self(Rc::new(Inner { link, credentials, keys, batches: Rc::default() }))
    }

    /// Looks for a new token from time to time, as long as the client exists.
    fn tend_credentials(&self) {
        let client = Rc::downgrade(&self.0);
        actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_PERIOD).await;
                let Some(client) = client.upgrade() else { return };
                client.credentials.tend().await;
            }
        });
    }

    /// The path before every key: empty, or with a slash at its end.
    pub(crate) fn prefix(&self) -> &str {
        self.0.keys.prefix()
    }

    /// Whether requests carry an ACL token.
    pub(crate) fn has_token(&self) -> bool {
        self.0.credentials.current().is_some()
    }

    /// Whether the token comes from a login.
    pub(crate) fn logs_in(&self) -> bool {
        self.0.credentials.logs_in()
    }

    /// Destroys the token if it came from a login. No request may follow.
    pub(crate) async fn log_out(&self, limit: Duration) {
        self.0.credentials.log_out(limit).await;
    }

    /// Asks one question. The answer arrives within `limit`. A blocking read is answered
    /// within `limit` after its wait.
    ///
    /// Use [`lock`](Self::lock) for locks.
    pub(crate) async fn ask<A: Ask>(&self, ask: &A, limit: Duration) -> A::Fact {
        let asked_at = Instant::now();
        let fact = self.ask_once(ask, limit.into()).await;
        let Some(other) = ask.otherwise(&self.0.keys, &fact) else { return fact };
        let rest = Limit::from(limit).after(asked_at.elapsed());
        if rest.time_to_send().is_zero() {
            return ask.unanswered(Trouble::Timeout(limit));
        }
        // Boxed: it is rare, and thousands of questions may be waiting.
        Box::pin(self.ask_once(&*other, rest)).await
    }

    /// Asks by one request.
    pub(super) async fn ask_once<A: Ask + ?Sized>(&self, ask: &A, limit: Limit) -> A::Fact {
        let keys = &self.0.keys;
        let limit = limit.of(ask.limit(limit.whole()));
        match self.exchange(ask.purpose(), &ask.request(keys), limit).await {
            Ok((reply, token)) => {
                ask.read(keys, Answer::new(&reply, token.as_ref().map(|token| &token.secret)))
            }
            Err(trouble) => ask.unanswered(trouble),
        }
    }

    /// The connections to the agent, if the link is HTTP.
    pub(crate) fn connections(&self) -> Option<&Http> {
        match &*self.0.link {
            Link::Http(http) => Some(http),
            Link::Backend(_) => None,
        }
    }

    /// Sends a request, and returns the reply with the token that was sent.
    async fn exchange(
        &self,
        purpose: Purpose,
        request: &WireRequest,
        limit: Limit,
    ) -> Result<(WireReply, Option<Token>), Trouble> {
        let asked_at = Instant::now();
        let result = self.exchange_with_token(purpose, request, limit).await;
        let (method, target) = (request.method.as_str(), &request.target);
        let elapsed = asked_at.elapsed();
        match &result {
            Ok((WireReply { status, .. }, _)) => {
                logs::trace!(method, %target, status, ?elapsed, "Consul answered");
            }
            Err(trouble) => {
                logs::trace!(method, %target, %trouble, ?elapsed, "Consul did not answer");
            }
        }
        result
    }

    /// Sends a request with the current token. If Consul does not know the token, the request
    /// had no effect: it is sent again once another token is there, if there is still
    /// [time](Limit::time_to_send).
    async fn exchange_with_token(
        &self,
        purpose: Purpose,
        request: &WireRequest,
        limit: Limit,
    ) -> Result<(WireReply, Option<Token>), Trouble> {
        let Inner { link, credentials, .. } = &*self.0;
        if !credentials.may_change() {
            let token = credentials.current();
            let header = token.as_ref().map(|token| &token.header);
            let reply = link.exchange(purpose, request, header, limit).await?;
            return Ok((reply, token));
        }
        let asked_at = Instant::now();
        let latest = asked_at + limit.time_to_send();
        let none = |_| Trouble::NoToken(format!("none within {:.1?}", limit.time_to_send()));
        let token = timeout_at(latest, credentials.token()).await.map_err(none)?;
        let mut token = token.map_err(Trouble::NoToken)?;
        let (is_read, mut was_sent) = (request.method == Method::Get, false);
        loop {
            let header = token.as_ref().map(|token| &token.header);
            let rest = limit.after(asked_at.elapsed());
            let reply = match link.exchange(purpose, request, header, rest).await {
                // A copy of the request that was sent before may have had an effect.
                Err(trouble) if was_sent && !is_read && trouble.is_without_effect() => {
                    return Err(Trouble::Broken(trouble.to_string()));
                }
                reply => reply?,
            };
            if !Answer::new(&reply, None).lacks_token() {
                return Ok((reply, token));
            }
            was_sent = true;
            let next = credentials.replaced(token.as_ref());
            match timeout_at(latest, next).await {
                Ok(next) if Instant::now() < latest => token = next,
                _ => return Ok((reply, token)),
            }
        }
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
pub(super) mod tests;
