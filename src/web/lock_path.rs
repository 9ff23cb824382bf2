//! Holds a lock, named by a path segment, for the duration of a request.

use std::{
    fmt,
    future::{Ready, ready},
    ops::Deref,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse,
    body::BoxBody,
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};
use futures::future::LocalBoxFuture;

use super::{
    body::locked,
    extract::{NotSetUp, dsync_of},
    hold::Hold,
};
use crate::{
    error::Error,
    holding::{claim::Claim, slots::Purpose, term::Term, user_code::run_until},
    key::Key,
    messages::Acquire,
};

/// A middleware for a route. It locks the key that a path segment names, for the duration
/// of the request.
///
/// ```
/// use actix_dsync::web::{HeldLease, LockPath};
/// use actix_web::web;
///
/// async fn charge(lease: HeldLease) -> String {
///     format!("charged, fenced by {}", lease.token())
/// }
///
/// fn routes(app: &mut web::ServiceConfig) {
///     let order = LockPath::segment("id").under("orders");
///     app.route("/orders/{id}/charge", web::post().to(charge).wrap(order));
/// }
/// ```
///
/// It wraps a [`Route`](actix_web::Route), after `to`, whose path pattern has the segment. Thus
/// only requests for a handler take a lock; wrong methods and unknown paths do not. The lock
/// comes before the handler's extractors, so a request that one of them refuses has taken it.
/// Let the path's pattern exclude such segments: `/orders/{id:[0-9]+}/charge`. Around a
/// resource, a scope or an app it does not compile:
///
/// ```compile_fail,E0277
/// # use actix_dsync::web::LockPath;
/// # use actix_web::web;
/// web::resource("/orders/{id}").wrap(LockPath::segment("id"));
/// ```
///
/// The key is [`Key::join`] of the prefix and the segment, decoded as by
/// [`Path`](actix_web::web::Path). The client chooses it, and its spelling: `/orders/7` and
/// `/orders/07` lock two keys, although a handler that takes the segment as a number works on
/// the same order. Let the handler refuse what is not in the canonical form, or lock in the handler
/// with a key made from the parsed value. With
/// [`Retention::Keep`](crate::config::Retention::Keep), every requested key stays in Consul, so
/// expose such a handler only to clients that you trust. A request opens a further
/// key only while less than half of what [`Limits::keys`](crate::config::Limits::keys) leaves to
/// locks is in use, by whomever, so requests cannot block other locks or campaigns. Beyond that,
/// the answer is 503.
///
/// The handler runs while the lock is held and is dropped at the moment of loss, as with
/// [`Lease::run`](crate::Lease::run). The answer is then [`Lost`](crate::Lost), returned as an
/// error and not as a response: a logging middleware around this one may not log it. A body
/// that is still being produced is aborted. Writes that the handler has already sent may still
/// arrive: pass the lease's [`token`](Term::token) to the resource that it writes to. If the
/// lock is not granted, the [`Error`] determines the answer.
///
/// A request that holds its lock longer than [`at_most`](LockPath::at_most), for instance
/// because the client sends or reads slowly, is aborted in the same way: the lock is
/// released, and the answer is 503 with the code `held_too_long`.
///
/// # Cancel safety
/// The lock is released when the response's body has been produced or is dropped; for
/// `HEAD`, when the handler returns; and if the handler panics. If an HTTP/1 connection ends,
/// actix-web drops the request, and with it the lock or the wait for it. By default, however, it
/// treats a client that closes its connection as half-closed, and the handler runs to its end;
/// [`h1_allow_half_closed(false)`](actix_web::HttpServer::h1_allow_half_closed) changes that.
///
/// In three cases, actix-web does not notice that a client has gone: over HTTP/2; if more than
/// about 160 KiB of the request's body are unread; and if the client has not read the responses to
/// earlier requests of the connection. In the last case, it may also stop polling the request.
/// Even then, a request waits for at most [`within`](LockPath::within), and holds for at most
/// [`at_most`](LockPath::at_most): a task of its own sees to both.
#[derive(Clone, Debug)]
#[must_use = "a middleware does nothing until it wraps something"]
pub struct LockPath {
    segment: Arc<str>,
    under: Arc<str>,
    within: Duration,
    at_most: Duration,
}

impl LockPath {
    /// The default of [`within`](Self::within): 5 s.
    pub const DEFAULT_WITHIN: Duration = Duration::from_secs(5);

    /// The default of [`at_most`](Self::at_most): 30 s.
    pub const DEFAULT_AT_MOST: Duration = Duration::from_secs(30);

    /// Locks the key named by the path segment `name`: `segment("id")` for the pattern
    /// `/orders/{id}`.
    pub fn segment(name: impl AsRef<str>) -> Self {
        Self {
            segment: name.as_ref().into(),
            under: "".into(),
            within: Self::DEFAULT_WITHIN,
            at_most: Self::DEFAULT_AT_MOST,
        }
    }

    /// Adds segments, separated by `/`, before that of the path, so that equal ids of
    /// different things are different keys.
    ///
    /// Default: none.
    pub fn under(self, prefix: impl AsRef<str>) -> Self {
        Self { under: prefix.as_ref().into(), ..self }
    }

    /// Waits at most `limit` for the lock.
    ///
    /// Default: [`DEFAULT_WITHIN`](Self::DEFAULT_WITHIN).
    pub fn within(self, limit: Duration) -> Self {
        Self { within: limit, ..self }
    }

    /// Holds the lock for at most `limit`, from the grant until the response's body has
    /// been produced. After that, the handler is dropped, or the body produces nothing more,
    /// and the lock is released. This bounds clients that send or read nothing. A body that
    /// nobody reads is dropped when its connection ends.
    ///
    /// Default: [`DEFAULT_AT_MOST`](Self::DEFAULT_AT_MOST). `Duration::MAX` means no limit.
    pub fn at_most(self, limit: Duration) -> Self {
        Self { at_most: limit, ..self }
    }

    fn key(&self, request: &HttpRequest) -> Result<Key, actix_web::Error> {
        const NO_SEGMENT: NotSetUp =
            NotSetUp("LockPath wraps something whose path pattern lacks the segment it names");
        let path = request.match_info();
        let place = path.iter().position(|(name, _)| name == &*self.segment).ok_or(NO_SEGMENT)?;
        // Decoded, as in a handler's extractor.
        let segments: Vec<String> = path.load().map_err(|error| Error::Invalid {
            field: "key",
            why: format!("cannot be read from the path: {error}"),
        })?;
        let segment = segments.get(place).ok_or(NO_SEGMENT)?;
        let prefix = self.under.split('/').filter(|part| !part.is_empty());
        Ok(Key::join(prefix.chain([segment.as_str()]))?)
    }

    async fn lock(&self, request: &HttpRequest) -> Result<Hold, actix_web::Error> {
        let asked = Acquire::new(self.key(request)?).within(self.within);
        let granted = dsync_of(request)?.intake().acquire_for(Purpose::Request, asked);
        Ok(Hold::begin(granted, self.at_most).await?)
    }
}

/// The service that [`Route::wrap`](actix_web::Route::wrap) wraps.
type RouteService = Box<
    dyn Service<
            ServiceRequest,
            Response = ServiceResponse,
            Error = actix_web::Error,
            Future = LocalBoxFuture<'static, Result<ServiceResponse, actix_web::Error>>,
        >,
>;

/// Only for routes: around a resource, a scope or an app, it would lock keys for requests
/// that reach no handler.
impl Transform<RouteService, ServiceRequest> for LockPath {
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = LockPathService;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: RouteService) -> Self::Future {
        ready(Ok(LockPathService { service: Rc::new(service), lock: self.clone() }))
    }
}

/// The service that [`LockPath`] produces.
#[doc(hidden)]
pub struct LockPathService {
    service: Rc<RouteService>,
    lock: LockPath,
}

impl fmt::Debug for LockPathService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockPathService").field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl Service<ServiceRequest> for LockPathService {
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (service, lock) = (self.service.clone(), self.lock.clone());
        Box::pin(async move {
            let hold = match lock.lock(request.request()).await {
                Ok(hold) => hold,
                // Not an error, so that middleware around this one sees a response.
                Err(error) => return Ok(request.into_response(HttpResponse::from_error(error))),
            };
            let (lease, method) = (hold.state(), request.method().clone());
            request.extensions_mut().insert(HeldLease(Term::of(lease.clone(), None)));
            // `run` checks the deadline before it calls the service.
            let work = lease.run(Box::pin(async { service.call(request).await }));
            let response = run_until(hold.over(), work).await???;
            Ok(response.map_body(|_, body| locked(body, hold, &method)))
        })
    }
}

/// The lock of a request under [`LockPath`].
///
/// It derefs to a [`Term`]: the lock's key, token and validity. As an extractor, it answers
/// 500 if no [`LockPath`] wraps the handler. A copy that outlives the request does not keep
/// the lock: it is no longer valid. The reason is then [`LossReason::Released`], both of its
/// [`lost`](Term::lost) and of its [`run`](Term::run), unless the lock was lost before.
///
/// [`LossReason::Released`]: crate::LossReason::Released
#[derive(Clone, Debug)]
pub struct HeldLease(Term);

impl Deref for HeldLease {
    type Target = Term;

    fn deref(&self) -> &Term {
        &self.0
    }
}

impl From<&HeldLease> for Claim {
    fn from(held: &HeldLease) -> Self {
        (&held.0).into()
    }
}

impl FromRequest for HeldLease {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let held = request.extensions().get::<Self>().cloned();
        ready(held.ok_or_else(|| NotSetUp("no LockPath wraps this handler").into()))
    }
}
