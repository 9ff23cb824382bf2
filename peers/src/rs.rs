//! rs-consul. It renews no session and tells nobody of a loss; both are added around it here, as its
//! own documentation leaves them to the caller: a renewal each third of the TTL, and one blocking read
//! after another, whose failure or change of session is a loss.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rs_consul::{Config, Consul, ConsulError, Lock, LockRequest, LockWatchRequest, ReadKeyRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::drive::{LOCK_DELAY, SETTLE, TTL, took};
use crate::log::{TICK, acquired, acquires, check};

const WAIT: Duration = Duration::from_secs(60);

fn start(url: &str) -> &'static Consul {
    let config = Config { address: url.into(), ..Config::default() };
    Box::leak(Box::new(Consul::new(config)))
}

/// Waits for the key as long as it takes.
async fn acquire(consul: &'static Consul, key: &str) -> Lock<'static> {
    loop {
        let request =
            LockRequest { key, timeout: TTL, lock_delay: LOCK_DELAY, ..Default::default() };
        match consul.get_lock(request, b"{}").await {
            Ok(lock) => return lock,
            Err(ConsulError::LockAcquisitionFailure(_)) => wait(consul, key).await,
            Err(_) => tokio::time::sleep(LOCK_DELAY).await,
        }
    }
}

/// Waits while somebody holds the key. No read tells of the end of a lock-delay: a free key is tried
/// again after a pause.
async fn wait(consul: &'static Consul, key: &str) {
    let request = ReadKeyRequest { key, ..Default::default() };
    let Ok(seen) = consul.read_key(request).await else { return };
    if seen.response.iter().all(|entry| entry.session.is_none()) {
        return tokio::time::sleep(LOCK_DELAY / 10).await;
    }
    let index = Some(seen.index);
    let request = LockWatchRequest { key, index, wait: WAIT, ..Default::default() };
    let _ = consul.watch_lock(request).await;
}

/// Releases it. The library's drop blocks its thread for a request.
async fn release(lock: Lock<'static>) {
    tokio::task::spawn_blocking(move || drop(lock)).await.expect("no panic");
}

pub(crate) async fn cycle(url: &str, prefix: &str, count: usize) {
    let (consul, key) = (start(url), format!("{prefix}/0"));
    for _ in 0..count {
        let began = Instant::now();
        let lock = acquire(consul, &key).await;
        release(lock).await;
        took(began);
    }
}

pub(crate) async fn handover(url: &str, prefix: &str, count: usize) {
    let (consul, key) = (start(url), format!("{prefix}/0"));
    let mut lock = acquire(consul, &key).await;
    for _ in 0..count {
        let waited = key.clone();
        let waits = tokio::spawn(async move { acquire(consul, &waited).await });
        tokio::time::sleep(SETTLE).await;
        let began = Instant::now();
        let ((), granted) = tokio::join!(release(lock), waits);
        took(began);
        lock = granted.expect("no panic");
    }
}

pub(crate) async fn hold(url: &str, prefix: &str, count: usize) {
    let consul = start(url);
    let hold = |number: usize| {
        let (url, key) = (url.to_owned(), format!("{prefix}/{number}"));
        async move {
            let name = number.to_string();
            loop {
                let op = acquires(&name);
                let lock = acquire(consul, &key).await;
                let token = acquired(op, &name, None);
                let lost = Arc::new(AtomicBool::new(false));
                let session = lock.session_id.clone();
                let renews = tokio::spawn(renew(url.clone(), session.clone()));
                let watches = tokio::spawn(watch(consul, key.clone(), session, lost.clone()));
                loop {
                    let from = crate::log::now();
                    let valid = !lost.load(Ordering::Relaxed);
                    check(&name, token, from, valid);
                    if !valid {
                        break;
                    }
                    tokio::time::sleep(TICK).await;
                }
                renews.abort();
                watches.abort();
                release(lock).await;
            }
        }
    };
    let mut tasks: tokio::task::JoinSet<()> = (0..count).map(hold).collect();
    tasks.join_next().await;
}

async fn renew(url: String, session: String) {
    let address = url.strip_prefix("http://").expect("plain HTTP").to_owned();
    loop {
        tokio::time::sleep(TTL / 3).await;
        let exchange = async {
            let mut stream = tokio::net::TcpStream::connect(&address).await?;
            let head = format!(
                "PUT /v1/session/renew/{session} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        let _ = tokio::time::timeout(TTL / 3, exchange).await;
    }
}

async fn watch(consul: &'static Consul, key: String, session: String, lost: Arc<AtomicBool>) {
    let mut index = None;
    loop {
        let request = ReadKeyRequest { key: &key, index, wait: WAIT, ..Default::default() };
        let Ok(seen) = consul.read_key(request).await else { break };
        if seen.response.first().and_then(|entry| entry.session.as_ref()) != Some(&session) {
            break;
        }
        index = Some(seen.index);
    }
    lost.store(true, Ordering::Relaxed);
}
