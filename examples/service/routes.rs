//! The routes of the service.

use std::{fmt, net::SocketAddr, time::Duration};

use actix_dsync::{
    Acquire, Dsync, Error, FencingToken, Holder, Inspect, Key, Lost, Release, Released,
    web::{Leader, status_routes},
};
use actix_web::{
    HttpResponse, Responder, ResponseError, get,
    http::StatusCode,
    post,
    web::{self, Data, Json, Path, Query, ServiceConfig},
};
use serde::{Deserialize, Serialize};

use crate::{
    bank::{Bank, Stale},
    consul::Consul,
};

pub(crate) fn configure(app: &mut ServiceConfig, dsync: &Dsync) {
    app.service(index).service(charge).service(show_order).service(show_lock).service(rebuild);
    // A real service would put this behind authentication.
    app.service(web::scope("/internal").configure(status_routes(dsync)));
}

/// How long a request waits for an order that another request is charging.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Charging {
    /// How long the bank takes, in milliseconds, to make the lock visible.
    #[serde(default = "half_a_second")]
    ms: u64,
}

fn half_a_second() -> u64 {
    500
}

#[derive(Serialize)]
struct Receipt {
    order: String,
    /// How often this order has been charged through this process.
    charges: u64,
    token: FencingToken,
    by_pid: u32,
}

#[post("/orders/{id}/charge")]
async fn charge(
    id: Path<String>,
    charging: Query<Charging>,
    dsync: Dsync,
    bank: Data<Bank>,
) -> Result<Json<Receipt>, Refusal> {
    // `join` escapes the client's text.
    let key = Key::join(["orders", id.as_str()])?;
    let lease = dsync.send(Acquire::new(key).within(PATIENCE)).await?;
    tracing::info!(key = %lease.key(), token = %lease.token(), "charging");

    // Dropped at the moment at which the lock is lost.
    let took = Duration::from_millis(charging.ms.min(60_000));
    let token = lease.token();
    let charges = lease.run(bank.charge(&id, token, took)).await??;

    // The charge is made, whatever becomes of the lock now. Dropping the lease
    // would give it back as well, only unconfirmed.
    match dsync.send(Release(lease)).await {
        Ok(Released::Confirmed) => tracing::info!(order = %id, %token, "charged"),
        Ok(Released::AlreadyLost(why)) => tracing::warn!(order = %id, %token, %why, "charged"),
        Err(error) => tracing::warn!(order = %id, %token, %error, "charged, release unconfirmed"),
    }
    Ok(Json(Receipt { order: id.into_inner(), charges, token, by_pid: std::process::id() }))
}

#[get("/orders/{id}")]
async fn show_order(id: Path<String>, bank: Data<Bank>) -> Result<impl Responder, Refusal> {
    let account = bank.account(&id).ok_or(Refusal::NeverCharged)?;
    Ok(Json(account))
}

#[get("/locks/{key:.+}")]
async fn show_lock(key: Path<String>, dsync: Dsync) -> Result<impl Responder, Refusal> {
    let key = Key::new(key.as_str())?;
    let holder = dsync.send(Inspect(key.clone())).await?;
    Ok(Json(serde_json::json!({ "key": key, "holder": holder.as_ref().map(described) })))
}

fn described(holder: &Holder) -> serde_json::Value {
    let value = holder.json().unwrap_or_else(|| String::from_utf8_lossy(&holder.value).into());
    serde_json::json!({
        "session": holder.session,
        "service": holder.session_name,
        "node": holder.node,
        "value": value,
    })
}

/// Only the leader does this; other copies send the client to it.
#[post("/rebuild")]
async fn rebuild(leader: Leader) -> Result<Json<serde_json::Value>, Lost> {
    // Dropped at the moment at which another copy may lead.
    leader.run(actix_web::rt::time::sleep(Duration::from_millis(200))).await?;
    let (token, by_pid) = (leader.token(), std::process::id());
    Ok(Json(serde_json::json!({ "rebuilt": true, "token": token, "by_pid": by_pid })))
}

#[get("/")]
async fn index(welcome: Data<Welcome>) -> impl Responder {
    welcome.to_string()
}

/// The reason for an error response.
#[derive(Debug)]
enum Refusal {
    Lock(Error),
    Lost(Lost),
    Stale(Stale),
    NeverCharged,
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Lock(error) => error.status_code(),
            Self::Lost(lost) => lost.status_code(),
            Self::Stale(_) => StatusCode::CONFLICT,
            Self::NeverCharged => StatusCode::NOT_FOUND,
        }
    }

    /// The text tells who holds a lock. A public service would answer less: what
    /// the crate's own errors say as responses.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code())
            .json(serde_json::json!({ "error": self.to_string() }))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => error.fmt(f),
            Self::Lost(lost) => write!(f, "charging was stopped: {lost}"),
            Self::Stale(Stale { token, newest }) => {
                write!(f, "the bank refused the token {token}: it has seen {newest}")
            }
            Self::NeverCharged => f.write_str("this process has not charged that order"),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

impl From<Lost> for Refusal {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<Stale> for Refusal {
    fn from(stale: Stale) -> Self {
        Self::Stale(stale)
    }
}

/// What to try, with the addresses in force.
pub(crate) struct Welcome {
    service: SocketAddr,
    consul: String,
    consul_url: String,
}

impl Welcome {
    pub(crate) fn new(service: SocketAddr, consul: &Consul) -> Self {
        let consul_url = consul.address();
        let consul_url = match consul_url.contains("://") {
            true => consul_url,
            false => format!("http://{consul_url}"),
        };
        Self { service, consul: consul.to_string(), consul_url }
    }
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, consul, consul_url } = self;
        let pid = std::process::id();
        write!(
            f,
            "
orders: charges each order under a lock of its own

  service  http://{service}  (process {pid})
  consul   {consul}

Charge order 7; it takes 5 s:
  curl -X POST 'http://{service}/orders/7/charge?ms=5000'

Meanwhile, in another terminal: who has the lock, and a charge that gives up after 2 s (504).
  curl http://{service}/locks/orders/7
  curl -X POST http://{service}/orders/7/charge
Start a second copy of this service and send the second charge there: the same answer.

What only one copy does at a time; another one sends you to it (-L follows):
  curl -L -X POST http://{service}/rebuild
Which copy that is, and everything else that this one knows, in a browser:
  http://{service}/internal/status

What this process has charged, and this text again:
  curl http://{service}/orders/7
  curl http://{service}/

Take the lock away in the middle of a charge: it stops at once (503), and PAGER says so here.
  curl -X DELETE {consul_url}/v1/kv/demo/orders/7

Ctrl-C gives every lock back and ends.
"
        )
    }
}
