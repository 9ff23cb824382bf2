//! The ACL token of the requests: fixed, from a file that may change, or from a login.

use std::{cell::RefCell, path::PathBuf, rc::Rc, time::Duration};

use futures::{
    FutureExt as _,
    future::{LocalBoxFuture, Shared},
};
use hyper::header::HeaderValue;
use tokio::time::{Instant, sleep, timeout};

use super::{
    answer::Answer,
    ask::{Ask as _, IsVisible, Keyspace, LogIn, LogOut, LoggedIn},
    http::Purpose,
    link::Link,
};
use crate::{config::Login, logs, secret::Secret};

/// How often the token is checked for a change, or for its expiry.
pub(super) const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// The pause between two looks for a token that replaces an unknown one.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The pause between two logins.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);
/// The time limit of a login or a logout.
const LOGIN_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait, at most, until the agent's server knows the token of a login.
const VISIBLE_LIMIT: Duration = Duration::from_secs(2);

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

impl TokenSource {
    /// Returns the token at the start; none before a login.
    ///
    /// # Errors
    /// Why the token cannot be used or read.
    pub(super) fn first(&self) -> Result<Option<Token>, String> {
        match self {
            Self::Fixed(None) | Self::Login(_) => Ok(None),
            Self::Fixed(Some(token)) => {
                Token::new(token.clone()).map_err(|why| format!("token {why}"))
            }
            Self::File { path, fallback } => {
                let name = path.display();
                let text = std::fs::read(path);
                let text = text.map_err(|err| format!("token_file '{name}' cannot be read: {err}"));
                let token = of_file(&text?).and_then(|token| match (token, fallback) {
                    (None, Some(fallback)) => Token::new(fallback.clone()),
                    (token, _) => Ok(token),
                });
                let token = token.map_err(|why| format!("token_file '{name}' {why}"))?;
                if token.is_none() {
                    logs::warn!(file = %name, "the token file is blank: requests have no token yet");
                }
                Ok(token)
            }
        }
    }
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
    link: Rc<Link>,
    keys: Keyspace,
    token: RefCell<Option<Token>>,
    /// The fetch of a token that is under way.
    fetch: RefCell<Option<Fetch>>,
    state: RefCell<State>,
}

/// The end of a fetch, or why it gave no token.
type Fetch = Shared<LocalBoxFuture<'static, Result<(), String>>>;

#[derive(Default)]
struct State {
    /// When to log in again.
    log_in_at: Option<Instant>,
    logged_in_at: Option<Instant>,
    /// Why no token could be had, and when that was.
    failed: Option<(String, Instant)>,
    /// The runtime has logged out, so requests that are still under way must not log in.
    is_closed: bool,
}

impl Credentials {
    /// `first` is the source's first token.
    pub(super) fn new(
        source: TokenSource,
        first: Option<Token>,
        link: Rc<Link>,
        keys: Keyspace,
    ) -> Rc<Self> {
        let (token, fetch, state) = (RefCell::new(first), RefCell::default(), RefCell::default());
        Rc::new(Self { source, link, keys, token, fetch, state })
    }

    /// Whether the token may change.
    pub(super) fn may_change(&self) -> bool {
        !matches!(self.source, TokenSource::Fixed(_))
    }

    /// Whether a login gives the token.
    pub(super) fn logs_in(&self) -> bool {
        matches!(self.source, TokenSource::Login(_))
    }

    /// Returns the token, after a login if necessary. `None` is the anonymous token.
    ///
    /// # Errors
    /// Why the login failed.
    ///
    /// # Cancel safety
    /// A login goes on when the future is dropped.
    pub(super) async fn token(self: &Rc<Self>) -> Result<Option<Token>, String> {
        if self.logs_in() && self.current().is_none() {
            self.fetched().await?;
        }
        Ok(self.current())
    }

    /// Waits for a token that replaces `unknown`, which Consul does not know. A file may be
    /// written after its former token was deleted. The token of a login is returned again if
    /// it is new: the server may know it by then.
    ///
    /// # Cancel safety
    /// A login goes on when the future is dropped.
    pub(super) async fn replaced(self: &Rc<Self>, unknown: Option<&Token>) -> Option<Token> {
        loop {
            if self.is_current(unknown) {
                // A failure is reported by the next request that needs a token.
                let _ = self.fetched().await;
            }
            if !self.is_current(unknown) {
                return self.current();
            }
            sleep(LOOK_AGAIN).await;
            if self.has_just_logged_in() {
                return self.current();
            }
        }
    }

    /// Fetches a new token if the file has changed or the token expires soon.
    pub(super) async fn tend(self: &Rc<Self>) {
        let is_due = match &self.source {
            TokenSource::Fixed(_) => false,
            TokenSource::File { .. } => true,
            TokenSource::Login(_) => {
                self.state.borrow().log_in_at.is_some_and(|at| at <= Instant::now())
            }
        };
        if is_due {
            // It has been reported.
            let _ = self.fetched().await;
        }
    }

    /// Destroys the token of a login. A login that is under way may end first, within `limit`.
    pub(super) async fn log_out(&self, limit: Duration) {
        self.state.borrow_mut().is_closed = true;
        let under_way = self.fetch.borrow().clone();
        let is_late = match under_way {
            Some(fetch) => timeout(limit, fetch).await.is_err(),
            None => false,
        };
        if !self.logs_in() {
            return;
        }
        if is_late {
            logs::warn!("a login is still under way; its token stays until it expires");
        }
        let Some(token) = self.token.borrow_mut().take() else { return };
        let (request, header) = (LogOut.request(&self.keys), Some(&token.header));
        let limit = limit.min(LOGIN_LIMIT);
        let reply = self.link.exchange(Purpose::Call, &request, header, limit).await;
        let fact = match &reply {
            Ok(reply) => LogOut.read(&self.keys, Answer::new(reply, Some(&token.secret))),
            Err(trouble) => Err(trouble.clone()),
        };
        if let Err(trouble) = fact {
            logs::warn!(%trouble, "could not log out; the token stays until it expires");
        }
    }

    pub(super) fn current(&self) -> Option<Token> {
        self.token.borrow().clone()
    }

    fn is_current(&self, token: Option<&Token>) -> bool {
        let current = self.token.borrow();
        current.as_ref().map(|token| &token.secret) == token.map(|token| &token.secret)
    }

    fn has_just_logged_in(&self) -> bool {
        self.state.borrow().logged_in_at.is_some_and(|at| at.elapsed() < LOGIN_PAUSE)
    }

    /// Waits for the fetch that is under way, or for a new one.
    ///
    /// It runs in a task of its own: a request has less time than a login may take, and a login
    /// that is cut off leaves a token that nobody uses.
    fn fetched(self: &Rc<Self>) -> Fetch {
        let mut under_way = self.fetch.borrow_mut();
        let start = || {
            let me = Rc::clone(self);
            let task = actix_rt::spawn(async move {
                let fetched = me.fetch().await;
                me.fetch.take();
                fetched
            });
            let ended = async { task.await.unwrap_or_else(|_| Err("the runtime ends".into())) };
            ended.boxed_local().shared()
        };
        // A fetch that panicked is still here.
        under_way.take_if(|fetch| fetch.peek().is_some());
        under_way.get_or_insert_with(start).clone()
    }

    /// Reads the file, or logs in unless that was done a moment ago. Reports a new failure.
    async fn fetch(&self) -> Result<(), String> {
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
                if self.has_just_logged_in() {
                    return Ok(());
                }
                self.log_in(login).await.map(Some)
            }
        };
        match fetched {
            Ok(token) => {
                if !self.is_current(token.as_ref()) {
                    logs::info!("the ACL token was replaced");
                    *self.token.borrow_mut() = token;
                }
                self.state.borrow_mut().failed = None;
                Ok(())
            }
            Err(why) => {
                let failed = Some((why.clone(), Instant::now()));
                let former = std::mem::replace(&mut self.state.borrow_mut().failed, failed);
                if former.is_none_or(|(former, _)| former != why) {
                    if self.token.borrow().is_some() {
                        logs::warn!(%why, "no new ACL token; the last one stays in use");
                    } else {
                        logs::error!(%why, "no ACL token, so nothing can be locked; trying again");
                    }
                }
                Err(why)
            }
        }
    }

    async fn log_in(&self, login: &Login) -> Result<Token, String> {
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
        let request = ask.request(&self.keys);
        let reply = self.link.exchange(Purpose::Call, &request, None, LOGIN_LIMIT).await;
        let fact = match &reply {
            Ok(reply) => ask.read(&self.keys, Answer::new(reply, Some(&ask.bearer))),
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
        // It is used even if it does not become visible in time.
        let _ = timeout(VISIBLE_LIMIT, self.until_visible(&token)).await;
        let mut state = self.state.borrow_mut();
        state.log_in_at = lifetime.map(|lifetime| asked_at + lifetime * 2 / 3);
        state.logged_in_at = Some(Instant::now());
        Ok(token)
    }

    /// Waits until the agent's server knows the token of a login; another server made it. Who
    /// logs out does not wait.
    async fn until_visible(&self, token: &Token) {
        while !self.state.borrow().is_closed {
            let (request, header) = (IsVisible.request(&self.keys), Some(&token.header));
            let reply = self.link.exchange(Purpose::Call, &request, header, VISIBLE_LIMIT).await;
            if reply.is_ok_and(|reply| IsVisible.read(&self.keys, Answer::new(&reply, None))) {
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
