//! The embedded agent on a paused clock, and its server in several runtimes.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::Embedded;
use crate::consul::wire::{Method, WireReply, WireRequest};

fn put(target: &str, body: &str) -> WireRequest {
    WireRequest {
        method: Method::Put,
        target: format!("/v1/{target}"),
        body: body.into(),
        blocks: false,
    }
}

fn get(target: &str) -> WireRequest {
    WireRequest {
        method: Method::Get,
        target: format!("/v1/{target}"),
        body: Vec::new(),
        blocks: false,
    }
}

fn text(reply: &WireReply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

async fn ask(consul: &Embedded, request: WireRequest) -> WireReply {
    consul.exchange(request).await.unwrap()
}

async fn session(consul: &Embedded, body: &str) -> String {
    let reply = ask(consul, put("session/create", body)).await;
    let id: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    id["ID"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_blocking_read_returns_when_a_session_expires_although_no_request_arrives() {
    let consul = Embedded::new();
    let id = session(&consul, r#"{"TTL":"10s"}"#).await;
    let locked = ask(&consul, put(&format!("kv/k?acquire={id}"), "v")).await;
    assert_eq!(text(&locked), "true");
    let index = ask(&consul, get("kv/k")).await.index.unwrap();
    let begin = tokio::time::Instant::now();
    let reply = ask(&consul, get(&format!("kv/k?index={index}&wait=60s"))).await;
    // Tokio's timers round up to the next millisecond.
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(20) && waited < Duration::from_millis(20_010));
    assert!(!text(&reply).contains("Session"));
    assert!(reply.index.unwrap() > index);
    assert!(consul.sessions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_strict_ttl_ends_at_the_ttl() {
    let consul = Embedded::new().strict_ttl(true);
    let id = session(&consul, r#"{"TTL":"10s"}"#).await;
    tokio::time::advance(Duration::from_millis(9_990)).await;
    assert_eq!(ask(&consul, put(&format!("session/renew/{id}"), "")).await.status, 200);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(ask(&consul, put(&format!("session/renew/{id}"), "")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_read_returns_when_a_session_created_after_it_expires() {
    let consul = Embedded::new();
    consul.write_key("k", "v");
    let index = consul.entries()[0].modify_index;
    let reader = consul.clone();
    let read = tokio::spawn(async move {
        ask(&reader, get(&format!("kv/k?index={}&wait=300s", index + 2))).await
    });
    tokio::task::yield_now().await;
    let id = session(&consul, r#"{"TTL":"10s"}"#).await;
    ask(&consul, put(&format!("kv/k?acquire={id}"), "v")).await;
    let begin = tokio::time::Instant::now();
    let reply = read.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 20);
    assert!(!text(&reply).contains("Session"));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_read_leaves_nothing_behind() {
    let consul = Embedded::new();
    consul.write_key("k", "v");
    let index = consul.entries()[0].modify_index;
    let read = consul.exchange(get(&format!("kv/k?index={index}")));
    assert!(tokio::time::timeout(Duration::from_secs(1), read).await.is_err());
    assert_eq!(consul.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_only_the_readers_of_its_key_among_ten_thousand() {
    let consul = Embedded::new();
    let reads: Vec<_> = (0..10_000)
        .map(|n| {
            consul.write_key(&format!("k{n}"), "v");
            let reader = consul.clone();
            tokio::spawn(async move {
                let read = |index| get(&format!("kv/k{n}?index={index}&wait=300s"));
                let first = ask(&reader, read(0)).await.index.unwrap();
                ask(&reader, read(first)).await
            })
        })
        .collect();
    while consul.waiting() < 10_000 {
        tokio::task::yield_now().await;
    }
    let begin = std::time::Instant::now();
    for n in 0..5_000 {
        consul.write_key(&format!("k{n}"), "w");
        assert_eq!(consul.waiting(), 9_999 - n);
    }
    for read in reads.into_iter().take(5_000) {
        assert!(text(&read.await.unwrap()).contains("\"Value\":\"dw==\""));
    }
    // A generous limit, which a scan of all readers per write would still exceed.
    assert!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn operator_actions_wake_readers() {
    let acts: [fn(&Embedded); 7] = [
        |consul| assert!(consul.delete_key("k")),
        |consul| assert!(consul.force_release("k")),
        |consul| assert!(consul.destroy_session(&consul.sessions()[0].id)),
        Embedded::leave,
        Embedded::fail_check,
        Embedded::restart,
        Embedded::restart_empty,
    ];
    for act in acts {
        let consul = Embedded::new();
        let id = session(&consul, "").await;
        ask(&consul, put(&format!("kv/k?acquire={id}"), "v")).await;
        let index = consul.entries()[0].modify_index;
        let reader = consul.clone();
        let read = tokio::spawn(async move {
            ask(&reader, get(&format!("kv/k?index={index}&wait=300s"))).await
        });
        tokio::task::yield_now().await;
        let begin = tokio::time::Instant::now();
        act(&consul);
        read.await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_ends_only_the_sessions_that_depend_on_it() {
    let consul = Embedded::new();
    session(&consul, "").await;
    let without = session(&consul, r#"{"Checks":[]}"#).await;
    consul.fail_check();
    assert_eq!(consul.sessions().len(), 1);
    assert_eq!(consul.sessions()[0].id, without);
    let refused = ask(&consul, put("session/create", "")).await;
    assert_eq!(text(&refused), "Check 'serfHealth' is in critical state");
    consul.pass_check();
    session(&consul, "").await;
    consul.leave();
    assert!(consul.sessions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rewinding_restore_repeats_indexes_and_forgets_lock_delays() {
    let consul = Embedded::new();
    let a = session(&consul, r#"{"TTL":"10s"}"#).await;
    ask(&consul, put(&format!("kv/k?acquire={a}"), "a")).await;
    let copy = consul.snapshot();
    let before = consul.entries();
    for round in 0..10 {
        consul.write_key("other", vec![round]);
    }
    consul.destroy_session(&a);
    consul.restore(&copy, true);
    assert_eq!(consul.entries(), before);
    assert_eq!(ask(&consul, put(&format!("session/renew/{a}"), "")).await.status, 200);
    consul.write_key("k", "again");
    assert!(consul.entries()[0].modify_index < before[0].modify_index + 5);
    let b = session(&consul, "").await;
    consul.force_release("k");
    let taken = ask(&consul, put(&format!("kv/k?acquire={b}"), "b")).await;
    assert_eq!(text(&taken), "true");
}

#[tokio::test(start_paused = true)]
async fn a_session_never_gets_the_id_of_one_that_came_with_the_snapshot_of_another_agent() {
    let (old, new) = (Embedded::new(), Embedded::new());
    let restored = session(&old, r#"{"TTL":"10s"}"#).await;
    new.restore(&old.snapshot(), true);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let ours = session(&new, r#"{"TTL":"10s"}"#).await;
    assert_ne!(ours, restored);
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ask(&new, put(&format!("session/renew/{ours}"), "")).await.status, 200);
    }
    assert_eq!(new.sessions().len(), 1, "the restored one has expired");
}

#[tokio::test(start_paused = true)]
async fn a_restore_without_rewind_continues_from_the_higher_index() {
    let consul = Embedded::new();
    for round in 0..100 {
        consul.write_key("k", vec![round]);
    }
    let copy = consul.snapshot();
    let before = consul.entries()[0].modify_index;
    consul.restart_empty();
    consul.restore(&copy, false);
    consul.write_key("k", "later");
    assert!(consul.entries()[0].modify_index > before);
}

fn raw_get(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn the_server_starts_and_stops_in_every_runtime_and_none() {
    let consul = Embedded::new();
    consul.write_key("k", "v");
    let server = consul.serve("127.0.0.1:0").unwrap();
    let address = server.address();
    assert!(raw_get(address, "/v1/kv/k?raw").ends_with("\r\n\r\nv"));
    drop(server);
    let again = consul.clone();
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let server = again.serve("127.0.0.1:0").unwrap();
        let address = server.address();
        tokio::task::spawn_blocking(move || raw_get(address, "/v1/kv/k?raw")).await.unwrap();
        server.stop().await;
        assert!(TcpStream::connect(address).is_err());
    });
    actix_web::rt::System::new().block_on(async move {
        let server = consul.serve("127.0.0.1:0").unwrap();
        let address = server.address();
        // The server runs on its own threads, so blocking this one is harmless.
        assert!(raw_get(address, "/v1/kv/k?raw").ends_with("\r\n\r\nv"));
        server.stop().await;
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn stopping_the_server_does_not_wait_for_blocking_reads() {
    let consul = Embedded::new();
    consul.write_key("k", "v");
    let index = consul.entries()[0].modify_index;
    let server = consul.serve("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(stream, "GET /v1/kv/k?index={index} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let begin = std::time::Instant::now();
    while consul.waiting() == 0 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    tokio::runtime::Runtime::new().unwrap().block_on(server.stop());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_address_in_use_is_an_error() {
    let consul = Embedded::new();
    let server = consul.serve("127.0.0.1:0").unwrap();
    assert!(consul.serve(server.address()).is_err());
}
