//! The ACL token of the requests: fixed, from a file that may change, or from a login.

use std::{cell::RefCell, path::PathBuf, time::Duration};

use hyper::header::HeaderValue;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{
    answer::Answer,
    ask::{Ask as _, IsVisible, Keyspace, LogIn, LogOut, LoggedIn},
    http::Purpose,
    link::Link,
};
use crate::{config::Login, secret::Secret};

/// How often the token is checked for a change, or for its expiry.
pub(super) const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// The pause between two looks for a token that replaces an unknown one.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The pause after a failed login.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);
/// The time limit of a login or a logout.
const LOGIN_LIMIT: Duration = Duration::from_secs(5);
/// How often, at most, the agent is asked whether it knows the token of a login yet.
const MOST_LOOKS: usize = 10;

/// Where the ACL token comes from.
#[derive(Clone, Debug)]
pub(crate) enum TokenSource {
    Fixed(Option<Secret>),
    File {
        path: PathBuf,
        /// The token if the file is blank at the start.
        fallback: Option<Secret>,
    },
    Login(Login),
}

/// An ACL token.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) header: HeaderValue,
}

impl Token {
    /// # Errors
    /// Why no header can carry it.
    fn new(secret: Secret) -> Result<Option<Self>, String> {
        if secret.is_blank() {
            return Ok(None);
        }
        let value = HeaderValue::from_str(secret.expose()).ok();
        let Some(mut header) = value.filter(|_| secret.fits_a_header()) else {
            return Err("has a character that no header allows".into());
        };
        // Keeps the token out of the HTTP client's logs.
        header.set_sensitive(true);
        Ok(Some(Self { secret, header }))
    }
}

/// The current token, and how to get the next one.
pub(super) struct Credentials {
    source: TokenSource,
    token: RefCell<Option<Token>>,
    /// Held while a token is fetched.
    turn: Mutex<()>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// When to log in again.
    log_in_at: Option<Instant>,
    /// Why no token could be had, and when that was.
    failed: Option<(String, Instant)>,
    /// The runtime has logged out, so requests that are still under way must not log in.
    is_closed: bool,
}

impl Default for Credentials {
    /// The anonymous token.
    fn default() -> Self {
        let source = TokenSource::Fixed(None);
        Self {
            source,
            token: RefCell::default(),
            turn: Mutex::default(),
            state: RefCell::default(),
        }
    }
}

impl Credentials {
    /// # Errors
    /// Why the token cannot be used or read.
    pub(super) fn new(source: TokenSource) -> Result<Self, String> {
        let token = match &source {
            TokenSource::Fixed(Some(token)) => {
                Token::new(token.clone()).map_err(|why| format!("token {why}"))?
            }
            TokenSource::File { path, fallback } => {
                let name = path.display();
                let text = std::fs::read(path);
                let text = text.map_err(|err| format!("token_file '{name}' cannot be read: {err}"));
                let token = of_file(&text?).and_then(|token| match (token, fallback) {
                    (None, Some(fallback)) => Token::new(fallback.clone()),
                    (token, _) => Ok(token),
                });
                token.map_err(|why| format!("token_file '{name}' {why}"))?
            }
            TokenSource::Fixed(None) | TokenSource::Login(_) => None,
        };
        Ok(Self { source, token: RefCell::new(token), ..Self::default() })
    }

    /// Whether the token may change.
    pub(super) fn may_change(&self) -> bool {
        !matches!(self.source, TokenSource::Fixed(_))
    }

    pub(super) fn is_logged_in(&self) -> bool {
        matches!(self.source, TokenSource::Login(_)) && self.token.borrow().is_some()
    }

    /// Returns the token, after a login if necessary. `None` is the anonymous token.
    ///
    /// # Errors
    /// Why the login failed.
    pub(super) async fn token(
        &self,
        link: &Link,
        keys: &Keyspace,
    ) -> Result<Option<Token>, String> {
        let token = self.current();
        if token.is_some() || !matches!(self.source, TokenSource::Login(_)) {
            return Ok(token);
        }
        let _turn = self.turn.lock().await;
        if self.current().is_none() {
            self.fetch(link, keys).await?;
        }
        Ok(self.current())
    }

    /// Waits for a token that replaces `unknown`, which Consul does not know. A file may be
    /// written after its former token was deleted.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(super) async fn replaced(
        &self,
        unknown: Option<&Token>,
        link: &Link,
        keys: &Keyspace,
    ) -> Option<Token> {
        loop {
            {
                let _turn = self.turn.lock().await;
                if self.is_current(unknown) {
                    // A failure is reported by the next request that needs a token.
                    let _ = self.fetch(link, keys).await;
                }
                if !self.is_current(unknown) {
                    return self.current();
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Fetches a new token if the file has changed or the token expires soon.
    pub(super) async fn tend(&self, link: &Link, keys: &Keyspace) {
        let is_due = match &self.source {
            TokenSource::Fixed(_) => false,
            TokenSource::File { .. } => true,
            TokenSource::Login(_) => {
                self.state.borrow().log_in_at.is_some_and(|at| at <= Instant::now())
            }
        };
        if is_due {
            let _turn = self.turn.lock().await;
            // It has been reported.
            let _ = self.fetch(link, keys).await;
        }
    }

    /// Destroys the token of a login.
    pub(super) async fn log_out(&self, link: &Link, keys: &Keyspace, limit: Duration) {
        if !self.is_logged_in() {
            return;
        }
        self.state.borrow_mut().is_closed = true;
        let limit = limit.min(LOGIN_LIMIT);
        // A login that is under way ends first.
        let _turn = tokio::time::timeout(limit, self.turn.lock()).await;
        let Some(token) = self.token.borrow_mut().take() else { return };
        let header = Some(&token.header);
        let reply = link.exchange(Purpose::Call, &LogOut.request(keys), header, limit).await;
        let fact = match &reply {
            Ok(reply) => LogOut.read(keys, Answer::new(reply, Some(&token.secret))),
            Err(trouble) => Err(trouble.clone()),
        };
        if let Err(trouble) = fact {
            tracing::warn!(%trouble, "could not log out; the token stays until it expires");
        }
    }

    pub(super) fn current(&self) -> Option<Token> {
        self.token.borrow().clone()
    }

    fn is_current(&self, token: Option<&Token>) -> bool {
        let current = self.token.borrow();
        current.as_ref().map(|token| &token.secret) == token.map(|token| &token.secret)
    }

    /// Reads the file, or logs in unless that has just failed. Reports a new failure.
    async fn fetch(&self, link: &Link, keys: &Keyspace) -> Result<(), String> {
        let fetched = match &self.source {
            TokenSource::Fixed(_) => return Ok(()),
            TokenSource::File { path, .. } => {
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
                let read = read.unwrap_or_else(|err| Err(std::io::Error::other(err)));
                let token = read.map_err(|err| format!("cannot be read: {err}"));
                let token = token.and_then(|text| of_file(&text));
                // A file that is being written is blank for a moment.
                let token = token.map(|token| token.or_else(|| self.current()));
                token.map_err(|why| format!("token_file '{}' {why}", path.display()))
            }
            TokenSource::Login(login) => {
                if self.state.borrow().is_closed {
                    return Err("the runtime has logged out".into());
                }
                if let Some((why, at)) = &self.state.borrow().failed
                    && at.elapsed() < LOGIN_PAUSE
                {
                    return Err(why.clone());
                }
                // Boxed: it is large and rare, and every request reserves space for it.
                Box::pin(self.log_in(login, link, keys)).await.map(Some)
            }
        };
        match fetched {
            Ok(token) => {
                if !self.is_current(token.as_ref()) {
                    tracing::info!("the ACL token was replaced");
                    *self.token.borrow_mut() = token;
                }
                self.state.borrow_mut().failed = None;
                Ok(())
            }
            Err(why) => {
                let failed = Some((why.clone(), Instant::now()));
                let former = std::mem::replace(&mut self.state.borrow_mut().failed, failed);
                if former.is_none_or(|(former, _)| former != why) {
                    tracing::warn!(%why, "no new ACL token; the last one stays in use");
                }
                Err(why)
            }
        }
    }

    async fn log_in(&self, login: &Login, link: &Link, keys: &Keyspace) -> Result<Token, String> {
        let asked_at = Instant::now();
        let file = login.bearer_token_file.clone();
        let bearer = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
        let bearer = bearer.map_err(|_| "the runtime ends".to_owned())?.map_err(|err| {
            format!("login.bearer_token_file '{}' {err}", login.bearer_token_file.display())
        })?;
        let ask = LogIn {
            auth_method: login.auth_method.clone(),
            bearer: Secret::new(bearer),
            meta: login.meta.clone(),
        };
        let reply = link.exchange(Purpose::Call, &ask.request(keys), None, LOGIN_LIMIT).await;
        let fact = match &reply {
            Ok(reply) => ask.read(keys, Answer::new(reply, Some(&ask.bearer))),
            Err(trouble) => ask.unanswered(trouble.clone()),
        };
        let method = &login.auth_method;
        let (token, lifetime) = match fact {
            LoggedIn::Token { token, lifetime } => (token, lifetime),
            LoggedIn::Denied(why) => {
                return Err(format!("the login with auth method '{method}' was denied: {why}"));
            }
            LoggedIn::Unknown(trouble) => {
                return Err(format!("the login with auth method '{method}' failed: {trouble}"));
            }
        };
        let token = Token::new(token)?.ok_or("the login gave no token")?;
        self.wait_until_visible(&token, link, keys).await;
        self.state.borrow_mut().log_in_at = lifetime.map(|lifetime| asked_at + lifetime * 2 / 3);
        Ok(token)
    }

    /// Waits until the agent's server knows the token of a login; another server made it.
    async fn wait_until_visible(&self, token: &Token, link: &Link, keys: &Keyspace) {
        for _ in 0..MOST_LOOKS {
            let (request, header) = (IsVisible.request(keys), Some(&token.header));
            let reply = link.exchange(Purpose::Call, &request, header, LOGIN_LIMIT).await;
            let is_visible =
                reply.is_ok_and(|reply| IsVisible.read(keys, Answer::new(&reply, None)));
            if is_visible {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Returns the token in a file, if it holds one.
fn of_file(text: &[u8]) -> Result<Option<Token>, String> {
    Token::new(Secret::new(std::str::from_utf8(text).map_err(|_| "is not text")?))
}

#[cfg(test)]
mod tests;
