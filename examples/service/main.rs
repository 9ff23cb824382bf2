//! An actix-web service whose orders are charged under a lock.
//!
//! ```sh
//! cargo run --example service                  # and in another terminal the same again
//! curl -X POST 'localhost:8080/orders/7/charge?ms=5000'
//! ```
//!
//! It uses the Consul at `CONSUL_HTTP_ADDR`, if set; otherwise an agent that listens on
//! 127.0.0.1:8500; otherwise it serves an embedded one there. `--port N` sets the port; the
//! default is the first free one from 8080 on.

mod bank;
mod consul;
mod routes;
mod sweeper;

use std::{
    error::Error,
    io::{self, IsTerminal as _},
    net::{Ipv4Addr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use actix::{Actor, Context, Handler};
use actix_dsync::{
    Campaign, Dsync,
    events::{LockLost, Subscribe},
    web::LeaderConfig,
};
use actix_web::{App, HttpServer, web::Data};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{bank::Bank, routes::Welcome, sweeper::Sweeper};

const DEFAULT_PORT: u16 = 8080;
/// The time limit of the hand-over, and of the shutdown.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Logs every lock that this process loses.
struct Pager;

impl Actor for Pager {
    type Context = Context<Self>;
}

impl Handler<LockLost> for Pager {
    type Result = ();

    fn handle(&mut self, LockLost { key, token, reason, .. }: LockLost, _: &mut Self::Context) {
        tracing::warn!(%key, %token, %reason, "PAGER: this process has lost a lock");
    }
}

#[actix_web::main]
async fn main() -> ExitCode {
    let port = port_from_arguments().unwrap_or_else(|why| {
        eprintln!("{why}\nusage: service [--port N]");
        std::process::exit(2);
    });
    tracing_subscriber::fmt()
        .with_ansi(io::stdout().is_terminal())
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,actix_server=warn".into()),
        )
        .init();
    match serve(port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(port: Option<u16>) -> Result<(), Box<dyn Error>> {
    let listener = listen(port)?;
    let consul = consul::find()?;
    let here = listener.local_addr()?;
    let mut builder = Dsync::from_env("orders")?;
    if let consul::Consul::Served(server) = &consul {
        builder = builder.address(server.url());
    }
    let dsync = builder.prefix("demo").advertise(here.ip().to_string(), here.port()).start()?;

    // Beside the rest: a Consul that does not answer yet is no reason not to start.
    actix_web::rt::spawn({
        let dsync = dsync.clone();
        async move {
            match dsync.preflight().await {
                Ok(found) if found.passed => tracing::info!("{found}"),
                Ok(found) => tracing::warn!("{found}"),
                Err(error) => tracing::warn!(%error, "no preflight"),
            }
        }
    });

    // The subscription does not keep the actor alive; this address does.
    let pager = Pager.start();
    dsync.send(Subscribe::to(pager.clone().recipient::<LockLost>())).await?;

    // One copy leads at a time, and followers know where it is.
    let tenure = dsync.send(Campaign::default()).await?;
    // What the leader does besides.
    let sweeper = Sweeper::start(&dsync)?;

    let welcome = Welcome::new(here, &consul);
    println!("{welcome}");

    let (bank, welcome) = (Data::new(Bank::default()), Data::new(welcome));
    let shared = dsync.clone();
    HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(tenure.clone())
            .app_data(LeaderConfig::redirect().only(|host, _| host == "127.0.0.1"))
            .app_data(bank.clone())
            .app_data(welcome.clone())
            .configure(|app| routes::configure(app, &shared))
    })
    .listen(listener)?
    // Another process sweeps while this one finishes its requests.
    .shutdown_signal(dsync.hand_over_on(told_to_end()?, STOP_LIMIT))
    .shutdown_timeout(10)
    .run()
    .await?;
    drop(sweeper);

    // Releases every lock now, so that other processes do not wait.
    if let Err(error) = dsync.shutdown(STOP_LIMIT).await {
        // Consul may have stopped first; the TTL then frees the locks.
        tracing::warn!(%error, "shutdown failed; the TTL frees the locks");
    }
    consul.stop().await;
    Ok(())
}

/// Completes at Ctrl-C, or when an orchestrator ends the process.
fn told_to_end() -> io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The port asked for, if any was.
fn port_from_arguments() -> Result<Option<u16>, String> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(None),
        (Some("--port"), Some(port), None) => {
            port.parse().map(Some).map_err(|_| format!("{port:?} is no port"))
        }
        (Some("--port"), None, _) => Err("--port needs a number".into()),
        (Some(other), ..) => Err(format!("cannot make sense of {other:?}")),
    }
}

/// Listens on `port`, or, if none was asked for, on the first that is free.
fn listen(port: Option<u16>) -> io::Result<TcpListener> {
    let Some(port) = port else {
        return (DEFAULT_PORT..DEFAULT_PORT + 100)
            .find_map(|port| match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    println!("Port {port} is taken; trying the next one.");
                    None
                }
                bound => Some(bound),
            })
            .unwrap_or_else(|| Err(io::Error::other("no free port from 8080 to 8179")));
    };
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))
}
