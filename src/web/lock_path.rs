//! A lock for the time of one request, named by a segment of its path.

use std::{
    fmt,
    future::{Ready, ready},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    web::Bytes,
};
use futures::future::{BoxFuture, LocalBoxFuture};

use super::extract::{NotSetUp, dsync_of};
use crate::{
    error::Error,
    holding::{lease::Lease, lease_state::LeaseState},
    key::Key,
    messages::Acquire,
    ownership::{LossReason, Lost},
    token::FencingToken,
};

/// A middleware that locks what a segment of the path names, for as long as the
/// request lasts.
///
/// ```
/// use actix_dsync::web::{HeldLease, LockPath};
/// use actix_web::{guard, web};
///
/// async fn charge(lease: HeldLease) -> String {
///     format!("charged, fenced by {}", lease.token())
/// }
///
/// fn routes(app: &mut web::ServiceConfig) {
///     app.service(
///         web::resource("/orders/{id}/charge")
///             // A request for another method is not to wait for the lock.
///             .guard(guard::Post())
///             .wrap(LockPath::segment("id").under("orders"))
///             .route(web::post().to(charge)),
///     );
/// }
/// ```
///
/// It wraps a resource or a scope whose pattern has the segment; what wraps a
/// whole `App` runs before the path is taken apart, and is answered 500. The key
/// is [`Key::join`] of the prefix and the segment as
/// [`Path`](actix_web::web::Path) would have it.
///
/// The handler runs while the lock is held and is dropped at the moment of loss,
/// as by [`Lease::run`]; the answer is then that of [`Lost`], which goes
/// out as an error and not as a response, so that a logger around this may say
/// nothing of it. A body that is still being produced then breaks off. What the
/// handler has sent by then may still arrive: hand [`HeldLease::token`] to what it
/// writes to. A request that cannot have the lock is answered as its [`Error`] says.
///
/// # Cancel safety
/// The lock is given back when the response's body has been produced or is
/// dropped, so also when the connection ends, while the request waits for the lock
/// or later, and when the handler panics. A streamed body is produced as fast as the
/// client reads: give it an end of its own where a client could keep the lock by
/// reading nothing. An HTTP/1 client that closes its
/// connection is by default taken for one that only sends no more, and the handler
/// goes on to its end; with
/// [`h1_allow_half_closed(false)`](actix_web::HttpServer::h1_allow_half_closed) it is
/// dropped at once.
#[derive(Clone, Debug)]
#[must_use = "a middleware does nothing until it wraps something"]
pub struct LockPath {
    segment: Arc<str>,
    under: Arc<str>,
    within: Duration,
}

impl LockPath {
    /// How long a request waits for the lock unless [`within`](Self::within) says
    /// otherwise: 5 s.
    pub const DEFAULT_WITHIN: Duration = Duration::from_secs(5);

    /// Locks what the segment of that name says: `segment("id")` for the pattern
    /// `/orders/{id}`.
    pub fn segment(name: impl AsRef<str>) -> Self {
        Self { segment: name.as_ref().into(), under: "".into(), within: Self::DEFAULT_WITHIN }
    }

    /// Puts segments before that of the path, separated by `/`, so that the ids of
    /// different things are different locks.
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

    fn key(&self, request: &HttpRequest) -> Result<Key, actix_web::Error> {
        const NO_SEGMENT: NotSetUp =
            NotSetUp("LockPath wraps something whose path pattern lacks the segment it names");
        let path = request.match_info();
        let place = path.iter().position(|(name, _)| name == &*self.segment).ok_or(NO_SEGMENT)?;
        // Decoded, as a handler's extractor would have them.
        let segments: Vec<String> = path.load().map_err(|error| Error::Invalid {
            field: "path",
            why: format!("cannot be taken apart: {error}"),
        })?;
        let segment = segments.get(place).ok_or(NO_SEGMENT)?;
        let prefix = self.under.split('/').filter(|part| !part.is_empty());
        Ok(Key::join(prefix.chain([segment.as_str()]))?)
    }

    async fn lock(&self, request: &HttpRequest) -> Result<Lease, actix_web::Error> {
        let asked = Acquire::new(self.key(request)?).within(self.within);
        let asked = dsync_of(request)?.send(asked);
        Ok(asked.await?)
    }
}

impl<S, B> Transform<S, ServiceRequest> for LockPath
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = LockPathService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(LockPathService { service: Rc::new(service), lock: self.clone() }))
    }
}

/// What [`LockPath`] makes of the service that it wraps.
#[derive(Debug)]
#[doc(hidden)]
pub struct LockPathService<S> {
    service: Rc<S>,
    lock: LockPath,
}

impl<S, B> Service<ServiceRequest> for LockPathService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (service, lock) = (self.service.clone(), self.lock.clone());
        Box::pin(async move {
            let lease = match lock.lock(request.request()).await {
                Ok(lease) => lease,
                // A response, so that what wraps this one treats it as such.
                Err(error) => return Ok(request.into_response(HttpResponse::from_error(error))),
            };
            request.extensions_mut().insert(HeldLease(lease.state().clone()));
            // A copy of the request, for a response here, would keep scopes from routing it.
            let response = lease.run(service.call(request)).await??;
            Ok(response.map_body(|_, body| locked(body.boxed(), lease)))
        })
    }
}

/// The body, which keeps the lock until it has been produced.
fn locked(body: BoxBody, lease: Lease) -> BoxBody {
    if body.size() == BodySize::None {
        return body;
    }
    match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => BoxBody::new(LockedBody::new(body, lease)),
    }
}

/// A body that is produced while the lock is held.
struct LockedBody {
    size: BodySize,
    /// None once it is done or broken off.
    body: Option<BoxBody>,
    /// None once all has been said.
    lease: Option<Lease>,
    lost: BoxFuture<'static, Lost>,
}

impl LockedBody {
    fn new(body: BoxBody, lease: Lease) -> Self {
        let (key, token, lost) = (lease.key().clone(), lease.token(), lease.lost());
        Self {
            size: body.size(),
            body: Some(body),
            lease: Some(lease),
            lost: Box::pin(async move { Lost { key, token, reason: lost.await } }),
        }
    }
}

impl MessageBody for LockedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        let Some(lease) = &this.lease else { return Poll::Ready(None) };
        let lost = this.lost.as_mut().poll(context);
        // Why it was lost may be known a little later.
        this.body.take_if(|_| !lease.is_valid());
        let Some(body) = &mut this.body else {
            return lost.map(|lost| {
                this.lease = None;
                Some(Err(lost.into()))
            });
        };
        let next = Pin::new(body).poll_next(context);
        if matches!(next, Poll::Ready(None)) {
            (this.body, this.lease) = (None, None);
        }
        next
    }
}

/// The lock under which a request is handled; see [`LockPath`].
///
/// As an extractor it is answered 500 where no [`LockPath`] wraps the handler. A
/// copy that outlives the request does not keep the lock: it is no longer valid.
#[derive(Clone)]
pub struct HeldLease(Arc<LeaseState>);

impl HeldLease {
    /// The key that is owned.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.0.key()
    }

    /// The number that orders this ownership among all of its key. Hand it to what
    /// the handler writes to.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.0.token()
    }

    /// As [`Lease::is_valid`].
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0.is_valid()
    }

    /// As [`Lease::remaining`].
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.remaining()
    }

    /// As [`Lease::lost`]: it never ends if the lock was given back with the
    /// response.
    ///
    /// # Panics
    /// When it is polled outside a tokio (or actix) runtime with timers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let state = self.0.clone();
        async move { state.lost().await }
    }
}

impl fmt::Debug for HeldLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldLease")
            .field("key", self.key())
            .field("token", &self.token())
            .field("valid", &self.is_valid())
            .finish_non_exhaustive()
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
