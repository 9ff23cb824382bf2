//! Health routes for orchestrators and a status page for people.

use std::hash::{BuildHasher as _, RandomState};

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, HttpResponseBuilder, Resource, Responder,
    http::{
        StatusCode,
        header::{
            ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, REFERRER_POLICY, VARY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    web::{self, ServiceConfig},
};
use serde::Serialize;

use crate::{
    dsync::Dsync,
    escape::json_escaped,
    ownership::KeyState,
    status::report::{KeyReport, Report},
};

/// Adds two routes for orchestrators, under any scope: `health/live` and `health/ready`.
/// Each answers 200 if the condition holds, otherwise 503. They answer from memory and
/// reveal nothing else, so they may be public.
///
/// ```
/// # fn app(dsync: &actix_dsync::Dsync) {
/// use actix_web::{App, web};
///
/// let app = App::new().configure(actix_dsync::web::health_routes(dsync));
/// # }
/// ```
///
/// They report `live` and `ready` of [`HealthReport`](crate::report::HealthReport).
/// Restart a process whose `live` fails several times in a row. If requests need locks,
/// send none to a process that is not `ready`.
pub fn health_routes(
    dsync: &Dsync,
) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + Sync + 'static {
    let dsync = dsync.clone();
    move |app| {
        let (lives, readies) = (dsync.clone(), dsync);
        let live = move || std::future::ready(verdict("live", lives.health().live));
        let ready = move || std::future::ready(verdict("ready", readies.health().ready));
        app.service(read_only("/health/live", live));
        app.service(read_only("/health/ready", ready));
    }
}

/// A resource for `GET` and for `HEAD`, which monitors use. Other methods get 405.
fn read_only<F, Args>(path: &str, answer: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).get(answer.clone()).route(web::head().to(answer))
}

fn verdict(name: &str, holds: bool) -> HttpResponse {
    let status = if holds { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    uncached(status).json(serde_json::json!({ name: holds }))
}

/// Adds the [`health_routes`] and two routes for people: `status`, a page that refreshes
/// itself, and `status.json`, the [`Report`] behind it. `status` is also JSON for a client
/// that does not accept HTML.
///
/// ```
/// # fn app(dsync: &actix_dsync::Dsync) {
/// use actix_web::{App, web};
///
/// // At /internal/status. Wrap the scope in your authentication middleware.
/// let internal = web::scope("/internal").configure(actix_dsync::web::status_routes(dsync));
/// let app = App::new().service(internal);
/// # }
/// ```
///
/// Put it behind authentication: it shows keys, holders, sessions, and answers of Consul
/// or the network. It shows at most 200 keys, those of elections and held ones
/// first, and at most the first 1,024 bytes of a value. The page loads nothing from other
/// hosts and escapes keys and values.
pub fn status_routes(
    dsync: &Dsync,
) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + Sync + 'static {
    let dsync = dsync.clone();
    move |app| {
        app.configure(health_routes(&dsync));
        let (shown, told) = (dsync.clone(), dsync);
        let page = move |request: HttpRequest| {
            let shown = Shown::of(shown.list());
            std::future::ready(if wants_html(&request) { shown.page() } else { shown.json() })
        };
        let json = move || std::future::ready(Shown::of(told.list()).json());
        app.service(read_only("/status", page));
        app.service(read_only("/status.json", json));
    }
}

const TEMPLATE: &str = include_str!("status.html");
/// The most keys that are shown.
const MOST_KEYS: usize = 200;
/// The longest part of a holder's value that is shown, in bytes.
const LONGEST_VALUE: usize = 1_024;

fn wants_html(request: &HttpRequest) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

/// A report cut to the limits of a page.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    report: Report,
    more_keys: usize,
}

impl Shown {
    fn of(mut report: Report) -> Self {
        let more_keys = report.keys.len().saturating_sub(MOST_KEYS);
        // A stable sort: keys of one rank stay in the order of their names.
        report.keys.sort_by_key(rank);
        report.keys.truncate(MOST_KEYS);
        for holder in report.keys.iter_mut().filter_map(|key| key.holder.as_mut()) {
            if holder.value.len() > LONGEST_VALUE {
                holder.value = [&holder.value[..LONGEST_VALUE], "…".as_bytes()].concat().into();
            }
        }
        Self { report, more_keys }
    }

    fn json(&self) -> HttpResponse {
        // A report is valid JSON.
        let json = serde_json::to_string(self).unwrap_or_default();
        uncached(StatusCode::OK)
            .insert_header((VARY, "Accept"))
            .insert_header(ContentType::json())
            .body(json_escaped(&json))
    }

    fn page(&self) -> HttpResponse {
        let nonce = nonce();
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        // The text last, so that placeholders in it are not replaced.
        let page = TEMPLATE.replace("{{nonce}}", &nonce);
        let page = page.replacen("{{text}}", &html_escaped(&self.text()), 1);
        uncached(StatusCode::OK)
            .insert_header(ContentType::html())
            .insert_header((VARY, "Accept"))
            .insert_header((CONTENT_SECURITY_POLICY, policy))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .body(page)
    }

    /// The report as text, for browsers without scripts.
    fn text(&self) -> String {
        let mut text = self.report.to_string();
        if self.more_keys > 0 {
            text.push_str(&format!("and {} more keys\n", self.more_keys));
        }
        text
    }
}

/// The sort order of the keys: keys of elections, then held, in use, idle.
fn rank(key: &KeyReport) -> u8 {
    match (key.role, key.state) {
        (Some(_), _) => 0,
        (None, KeyState::Held) => 1,
        (None, KeyState::Idle) => 3,
        (None, _) => 2,
    }
}

fn uncached(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    response
}

/// Returns an unpredictable value that differs per page: the standard library's hashers
/// have random keys.
fn nonce() -> String {
    let [high, low] = [1, 2].map(|half| RandomState::new().hash_one(half));
    format!("{high:016x}{low:016x}")
}

fn html_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
