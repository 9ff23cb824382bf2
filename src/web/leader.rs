//! Requests that only the leader may handle.

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
    web::Data,
};
use futures::future::LocalBoxFuture;

use super::{
    elsewhere::LeaderConfig,
    extract::NotSetUp,
    refusal::{RETRY_AFTER_DEFAULT, answer},
};
use crate::holding::{tenure::Tenure, term::Term};

/// An extractor for handlers that only the leader may run. It derefs to the
/// [`Term`] in which the request came.
///
/// ```
/// use actix_dsync::{Lost, web::Leader};
///
/// async fn rebuild(leader: Leader) -> Result<&'static str, Lost> {
///     // Stopped at the moment at which this process leads no more.
///     leader.run(async { /* writes, fenced by leader.token() */ }).await?;
///     Ok("rebuilt")
/// }
/// ```
///
/// It needs the [`Tenure`] of a [`Campaign`](crate::Campaign), by
/// `app_data(tenure.clone())` or within a [`Data`]; without one the answer is 500.
/// Whether this process leads is judged by the clock, without a message. If it does
/// not, the request is answered as the app's [`LeaderConfig`] says: 503, or a
/// redirection to the leader.
///
/// Leadership can be lost while the handler runs. Nothing stops the handler then:
/// put its work into [`run`](Term::run), or wrap it in [`LeaderOnly`]. What is on
/// its way is stopped only by the token.
#[derive(Clone, Debug)]
pub struct Leader(Term);

impl Deref for Leader {
    type Target = Term;

    fn deref(&self) -> &Term {
        &self.0
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
                elsewhere(request, &tenure),
            )
            .into()),
        })
    }
}

/// The tenure that a [`LeaderOnly`] around the handler has, or else the app's.
fn tenure_of(request: &HttpRequest) -> Result<Tenure, NotSetUp> {
    let around = request.extensions().get::<Tenure>().cloned();
    around
        .or_else(|| request.app_data::<Tenure>().cloned())
        .or_else(|| request.app_data::<Data<Tenure>>().map(|tenure| tenure.get_ref().clone()))
        .ok_or(NotSetUp("no Tenure: give the App one with .app_data(tenure.clone())"))
}

/// The app's tenure, of a [`Campaign`](crate::Campaign): given by
/// `app_data(tenure.clone())` or within a [`Data`]. Without one the answer is 500.
///
/// For handlers that any process runs and that ask who leads; [`Leader`] is for
/// those that only the leader may run.
impl FromRequest for Tenure {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(tenure_of(request).map_err(Into::into))
    }
}

/// What a process answers that does not lead.
fn elsewhere(request: &HttpRequest, tenure: &Tenure) -> HttpResponse {
    let config = request
        .app_data::<LeaderConfig>()
        .or_else(|| request.app_data::<Data<LeaderConfig>>().map(Data::get_ref));
    let own = tenure.observer().callers().campaign_value();
    let redirection =
        config.and_then(|config| config.redirection(request, &tenure.leader()?, &own));
    redirection.unwrap_or_else(|| {
        let pause = config.map_or(RETRY_AFTER_DEFAULT, LeaderConfig::pause);
        let message = "this process does not lead";
        answer(StatusCode::SERVICE_UNAVAILABLE, "not_leader", message, Some(pause))
    })
}

/// A middleware for a scope, a resource or a whole app that only the leader may
/// serve. Elsewhere requests are answered as for [`Leader`].
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
/// The handler runs within the term and is dropped at its end, as by [`Term::run`],
/// also when this process resigns or hands over; the answer is then that of
/// [`Lost`](crate::Lost).
/// That goes out as an error and not as a response, so that a logger around this
/// may say nothing of it. A body that is still being sent is not cut off.
#[derive(Clone, Debug, Default)]
#[must_use = "a middleware does nothing until it wraps something"]
pub struct LeaderOnly {
    tenure: Option<Tenure>,
}

impl LeaderOnly {
    /// Lets the [`Tenure`] decide that is in the app's data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets this tenure decide, for services that campaign for several keys. A
    /// [`Leader`] extracted below it is of this tenure, too.
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

/// What [`LeaderOnly`] makes of the service that it wraps.
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
                let response = elsewhere(request.request(), &tenure);
                return Ok(request.into_response(response));
            };
            // The service is called inside of `run`, which looks at the clock first.
            let response = term.run(async { service.call(request).await }).await??;
            Ok(response.map_into_boxed_body())
        })
    }
}
