//! A service that reports every metric: `dashboard CONSUL_URL PORT`.
//!
//! It competes with its other copies for a few keys, campaigns, holds one key for long, waits for
//! more keys than its agent allows connections, and has a job that panics. Its metrics are at
//! `http://127.0.0.1:PORT/metrics`, with the buckets of docs/operations.md.

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::{Duration, UNIX_EPOCH},
};

use actix_dsync::{Acquire, Campaign, Config, Dsync, Key};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const MARGIN: [f64; 13] =
    [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0];
const RENEWAL: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.0];
const TIMES: [f64; 11] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(consul), Some(port)) = (words.next(), words.next()) else {
        return Err("usage: dashboard CONSUL_URL PORT".into());
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("dsync_renew_margin_seconds".into()), &MARGIN)?
        .set_buckets_for_metric(Matcher::Full("dsync_renew_seconds".into()), &RENEWAL)?
        .set_buckets_for_metric(Matcher::Full("dsync_wait_seconds".into()), &TIMES)?
        .set_buckets_for_metric(Matcher::Full("dsync_hold_seconds".into()), &TIMES)?
        .install_recorder()?;
    std::thread::spawn(move || serve(&listener, &metrics));

    let mut config = Config::default();
    config.metrics_by_key = true;
    let dsync = Dsync::builder("orders").config(config).address(consul).prefix("demo").start()?;
    let tenure = dsync.send(Campaign::default()).await?;
    let job = dsync.every(Key::new("sweep")?, Duration::from_secs(5), |turn| async move {
        let due = turn.due().duration_since(UNIX_EPOCH).unwrap_or_default();
        assert!(due.as_secs() % 15 != 0, "a job that panics at times");
    });
    tokio::spawn(async move { drop(job.await) });
    for number in 0..8 {
        let (dsync, key) = (dsync.clone(), Key::new(format!("orders/{}", number % 4))?);
        let hold = Duration::from_millis(30 + 40 * number);
        tokio::spawn(async move { take_turns(&dsync, key, hold).await });
    }
    let (long, key) = (dsync.clone(), Key::new("report")?);
    tokio::spawn(async move { take_turns(&long, key, Duration::from_secs(25)).await });
    for number in 0..40 {
        let (dsync, key) = (dsync.clone(), Key::new(format!("rare/{number}"))?);
        tokio::spawn(async move { take_turns(&dsync, key, Duration::from_secs(15)).await });
    }
    // Until it is killed.
    futures::future::pending::<()>().await;
    drop(tenure);
    Ok(())
}

async fn take_turns(dsync: &Dsync, key: Key, hold: Duration) {
    loop {
        if let Ok(lease) = dsync.send(Acquire::new(key.clone())).await {
            // Either may come first.
            let _ = lease.run(tokio::time::sleep(hold)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Answers every request with the metrics.
fn serve(listener: &TcpListener, metrics: &PrometheusHandle) {
    for stream in listener.incoming().flatten() {
        metrics.run_upkeep();
        // A scrape that went away misses its answer.
        let _ = answer(&stream, &metrics.render());
    }
}

fn answer(mut stream: &TcpStream, text: &str) -> std::io::Result<()> {
    let mut request = BufReader::new(stream).lines();
    while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}
