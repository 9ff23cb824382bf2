//! One request per order at a time, across all replicas, without a line of locking in the handler.
//!
//! ```sh
//! cargo run --example per_entity
//! ```

#[path = "support/mod.rs"]
mod support;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use actix_dsync::{
    Dsync,
    web::{HeldLease, LockPath},
};
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    web::{self, Path},
};

use support::Store;

const WORK: Duration = Duration::from_millis(300);

/// Runs while the lock of its order is held, and is dropped the moment the lock is lost.
async fn charge(order: Path<String>, lease: HeldLease) -> String {
    tokio::time::sleep(WORK).await;
    format!("{order} charged, fenced by {}", lease.token())
}

/// Starts a replica on any free port.
fn start(dsync: &Dsync) -> std::io::Result<(u16, ServerHandle)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let dsync = dsync.clone();
    let server = HttpServer::new(move || {
        let one_at_a_time = LockPath::segment("id").under("orders").within(Duration::from_secs(5));
        App::new()
            .app_data(dsync.clone())
            .route("/orders/{id}/charge", web::post().to(charge).wrap(one_at_a_time))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    actix::spawn(server);
    Ok((port, handle))
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::find();
    let replicas = [store.replica("orders")?.start()?, store.replica("orders")?.start()?];
    let (first, one) = start(&replicas[0])?;
    let (second, two) = start(&replicas[1])?;
    for dsync in &replicas {
        dsync.ready().await?;
    }

    println!("four requests for one order, two to each replica: one after another");
    let orders = ["7", "7", "7", "7"];
    post(first, second, orders).await?;
    println!("four requests for four orders: at the same time");
    post(first, second, ["1", "2", "3", "4"]).await?;

    one.stop(true).await;
    two.stop(true).await;
    for dsync in &replicas {
        dsync.shutdown(Duration::from_secs(5)).await?;
    }
    Ok(())
}

async fn post(
    first: u16,
    second: u16,
    orders: [&str; 4],
) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let ports = [first, second, first, second];
    let requests = orders.iter().zip(ports).map(|(order, port)| async move {
        let url = format!("http://127.0.0.1:{port}/orders/{order}/charge");
        let client = awc::Client::builder().timeout(Duration::from_secs(10)).finish();
        let mut answer = client.post(url).send().await.map_err(|error| error.to_string())?;
        let text = answer.body().await.map_err(|error| error.to_string())?;
        let after = began.elapsed().as_secs_f64();
        println!("  {after:.1} s: {} {}", answer.status(), String::from_utf8_lossy(&text));
        Ok::<(), String>(())
    });
    futures::future::try_join_all(requests).await?;
    Ok(())
}
