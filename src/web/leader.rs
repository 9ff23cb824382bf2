//! Restricts requests to the leader.

use std::{
    fmt,
    future::{Ready, ready},
    ops::Deref,
    rc::Rc,
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    error::InternalError,
    http::StatusCode,
};
use futures::future::LocalBoxFuture;

use super::{
    body::led,
    extract::{NotSetUp, given},
    redirect::LeaderConfig,
    refusal::{RETRY_AFTER_DEFAULT, answer},
};
use crate::holding::{claim::Claim, tenure::Tenure, term::Term};

/// An extractor for handlers that only the leader may run. It derefs to the current
/// [`Term`].
///
/// ```
/// use actix_dsync::{Lost, web::Leader};
///
/// async fn rebuild(leader: Leader) -> Result<&'static str, Lost> {
///     // Stops when this process no longer leads.
///     leader.run(async { /* writes, fenced by leader.token() */ }).await?;
///     Ok("rebuilt")
/// }
/// ```
///
/// It needs the [`Tenure`] of a [`Campaign`](crate::Campaign), added with
/// `app_data(tenure.clone())` or in a [`Data`](actix_web::web::Data). Without one, the answer is 500. It compares
/// the term's deadline with the clock and sends no message. If this process does not lead,
/// the app's [`LeaderConfig`] determines the answer: 503, or a redirection to the leader.
///
/// Leadership can be lost while the handler runs. That does not stop the handler: put its
/// work into [`run`](Term::run), or wrap it in [`LeaderOnly`]. Only the token stops writes
/// that are in flight.
#[derive(Clone, Debug)]
pub struct Leader(Term);

impl Deref for Leader {
    type Target = Term;

    fn deref(&self) -> &Term {
        &self.0
    }
}

impl From<&Leader> for Claim {
    fn from(leader: &Leader) -> Self {
        (&leader.0).into()
    }
}

impl FromRequest for Leader {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let tenure = match tenure_of(request) {
            Ok(tenure) => tenure,
            Err(error) => return ready(Err(error.into())),
        };
        ready(match tenure.term() {
            Some(term) => Ok(Self(term)),
            None => Err(InternalError::from_response(
                "this process does not lead",
                redirect(request, &tenure),
            )
            .into()),
        })
    }
}

/// Returns the tenure of the [`LeaderOnly`] around the handler, or else the app's.
fn tenure_of(request: &HttpRequest) -> Result<Tenure, NotSetUp> {
    let around = request.extensions().get::<Tenure>().cloned();
    around
        .or_else(|| given::<Tenure>(request).cloned())
        .ok_or(NotSetUp("no Tenure: give the App one with .app_data(tenure.clone())"))
}

/// Extracts the tenure of a [`Campaign`](crate::Campaign), added with
/// `app_data(tenure.clone())` or in a [`Data`](actix_web::web::Data). Without one, the answer is 500.
///
/// For handlers that run in any process and need to know the leader. [`Leader`] is for
/// handlers that only the leader may run.
impl FromRequest for Tenure {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(tenure_of(request).map_err(Into::into))
    }
}

/// Answers a request in a process that does not lead.
fn redirect(request: &HttpRequest, tenure: &Tenure) -> HttpResponse {
    let config = given::<LeaderConfig>(request);
    let own = tenure.observer().callers().campaign_value();
    let redirection =
        config.and_then(|config| config.redirection(request, &tenure.leader()?, &own));
    redirection.unwrap_or_else(|| {
        let pause = config.map_or(RETRY_AFTER_DEFAULT, LeaderConfig::pause);
        let message = "this process does not lead";
        answer(StatusCode::SERVICE_UNAVAILABLE, "not_leader", message, Some(pause))
    })
}

/// A middleware for a scope, a resource or an app that only the leader may serve. A
/// process that does not lead answers as for [`Leader`].
///
/// ```
/// use actix_dsync::web::LeaderOnly;
/// use actix_web::web;
///
/// fn routes(app: &mut web::ServiceConfig) {
///     app.service(web::scope("/admin").wrap(LeaderOnly::new()));
/// }
/// ```
///
/// The handler runs within the term, as with [`Term::run`]. It is dropped when the term
/// ends, including when this process resigns or hands over. The answer is then
/// [`Lost`](crate::Lost), returned as an error and not as a response: a logging middleware
/// around this one may not log it. A body that is still being produced is dropped, too: the
/// connection is then closed before the response is complete.
#[derive(Clone, Debug, Default)]
#[must_use = "a middleware does nothing until it wraps something"]
pub struct LeaderOnly {
    tenure: Option<Tenure>,
}

impl LeaderOnly {
    /// Uses the [`Tenure`] in the app's data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses `tenure`, for services that campaign for several keys. A [`Leader`] extracted
    /// in the wrapped handlers uses it too.
    pub fn of(tenure: &Tenure) -> Self {
        Self { tenure: Some(tenure.clone()) }
    }
}

impl<S, B> Transform<S, ServiceRequest> for LeaderOnly
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = LeaderOnlyService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let tenure = self.tenure.clone();
        ready(Ok(LeaderOnlyService { service: Rc::new(service), tenure }))
    }
}

/// The service that [`LeaderOnly`] produces.
#[doc(hidden)]
pub struct LeaderOnlyService<S> {
    service: Rc<S>,
    tenure: Option<Tenure>,
}

impl<S> fmt::Debug for LeaderOnlyService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderOnlyService").finish_non_exhaustive()
    }
}

impl<S, B> Service<ServiceRequest> for LeaderOnlyService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let service = self.service.clone();
        if let Some(tenure) = &self.tenure {
            request.extensions_mut().insert(tenure.clone());
        }
        Box::pin(async move {
            let tenure = match tenure_of(request.request()) {
                Ok(tenure) => tenure,
                Err(error) => return Ok(request.error_response(error)),
            };
            let Some(term) = tenure.term() else {
                let response = redirect(request.request(), &tenure);
                return Ok(request.into_response(response));
            };
            // `run` checks the deadline before it calls the service.
            let response = term.run(async { service.call(request).await }).await??;
            Ok(response.map_body(|_, body| led(body.boxed(), term)))
        })
    }
}
