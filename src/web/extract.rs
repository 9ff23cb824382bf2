//! Extracts the runtime's handle.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, dev::Payload, web::Data};

use crate::{dsync::Dsync, logs};

/// Extracts the app's handle, added with `app_data(dsync.clone())` or in a
/// [`Data`](actix_web::web::Data).
///
/// Without one, the answer is 500.
impl FromRequest for Dsync {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(dsync_of(request).cloned().map_err(Into::into))
    }
}

pub(super) fn dsync_of(request: &HttpRequest) -> Result<&Dsync, NotSetUp> {
    given(request).ok_or(NotSetUp("no Dsync: give the App one with .app_data(dsync.clone())"))
}

/// What the App was given by `app_data`, bare or as `Data`.
pub(super) fn given<T: 'static>(request: &HttpRequest) -> Option<&T> {
    request.app_data::<T>().or_else(|| request.app_data::<Data<T>>().map(Data::get_ref))
}

/// The app lacks data that a handler needs: a programming error, found at the first
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this service is not set up: {0}")]
pub(super) struct NotSetUp(pub(super) &'static str);

impl ResponseError for NotSetUp {
    fn error_response(&self) -> HttpResponse {
        logs::error!("{self}");
        HttpResponse::InternalServerError().body(self.to_string())
    }
}

#[cfg(test)]
mod tests;
