//! Invalid input and servers fail in time, with errors that tell what to do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use actix_dsync::{Acquire, Dsync, Error, Key, LockValue, Timing, TryAcquire};

use crate::locks::{acquire, agent, at, key, runtime};
use crate::support::consul::Agent;

/// A server that answers every request with the same bytes and closes the connection.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut head = [0; 4096];
                if stream.read(&mut head).is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(bytes);
                }
            });
        }
    });
    format!("http://{address}")
}

/// A server that accepts requests and never answers.
fn silent() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let _kept: Vec<_> = listener.incoming().collect();
    });
    format!("http://{address}")
}

fn closed() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

/// Asserts that every request ends within `limit` with a typed error.
async fn is_unavailable(name: &str, url: String, limit: Duration) {
    let timing = Timing::fast_failover();
    let dsync = at(url, "bad").timing(timing.clone()).start().expect("Consul need not be there");
    let asked = Instant::now();
    let ready = tokio::time::timeout(limit, dsync.ready());
    let tried = tokio::time::timeout(limit, dsync.send(TryAcquire::new(key("k"))));
    let within = dsync.send(Acquire::new(key("k")).within(Duration::from_secs(2)));
    let within = tokio::time::timeout(limit, within);
    let (ready, tried, within) = tokio::join!(ready, tried, within);
    let ready = ready.unwrap_or_else(|_| panic!("{name}: ready() hangs"));
    let tried = tried.unwrap_or_else(|_| panic!("{name}: TryAcquire hangs"));
    let within = within.unwrap_or_else(|_| panic!("{name}: Acquire within 2 s hangs"));
    let errors = [ready.expect_err(name), tried.expect_err(name), within.expect_err(name)];
    for error in &errors {
        assert!(matches!(error, Error::Unavailable { .. }), "{name}: {error:?}");
    }
    eprintln!("{name}, {:?}: {}", asked.elapsed(), errors[0]);
    let ended = Instant::now();
    let _ = dsync.shutdown(Duration::from_secs(1)).await;
    assert!(ended.elapsed() < Duration::from_secs(3), "{name}: shutdown hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_answers_in_the_place_of_an_agent_is_an_error_in_time() {
    let html = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 22\r\n\r\n<html>It works!</html>";
    let gateway = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 11\r\n\r\nBad Gateway";
    let cut = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"ID\": \"b5a1";
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"ID\": \"b5a1";
    let other = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]";
    let moved = b"HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let limit = Duration::from_secs(8);
    let servers = [
        ("HTML", answering(html)),
        ("a gateway's error", answering(gateway)),
        ("a cut reply", answering(cut)),
        ("half of the JSON", answering(half)),
        ("other JSON", answering(other)),
        ("a redirect", answering(moved)),
        ("no HTTP", answering(b"SSH-2.0-OpenSSH_9.2\r\n")),
        ("a hang-up", answering(b"")),
        ("silence", silent()),
        ("a closed port", closed()),
        ("an unknown host", "http://consul.invalid:8500".to_owned()),
    ];
    let asked = servers.into_iter().map(|(name, url)| is_unavailable(name, url, limit));
    futures::future::join_all(asked).await;
}

#[test]
fn keys_and_values_that_consul_cannot_hold_are_refused_by_name() {
    let long = "k".repeat(1_000_000);
    for bad in ["", "/a", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a\0b", "a\nb", &long] {
        let error = Key::new(bad).expect_err("not a key");
        assert!(matches!(error, Error::Invalid { field: "key", .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.len() < 300, "{} bytes of text", text.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_beyond_the_limit_is_refused_and_one_at_the_limit_is_stored() {
    let dsync = runtime("values");
    let asked = TryAcquire::new(key("k"));
    let long = asked.clone().value(LockValue::Bytes(vec![b'x'; LockValue::MAX_LEN + 1]));
    let error = dsync.send(long).await.expect_err("too long");
    assert!(matches!(error, Error::Invalid { field: "value", .. }), "{error:?}");
    let longest = LockValue::Bytes(vec![b'x'; LockValue::MAX_LEN]);
    let lease = dsync.send(asked.value(longest)).await.expect("within Consul's limits");
    let stored = agent().operator().kv_get("values/k").expect("held");
    assert_eq!(stored.value.len(), LockValue::MAX_LEN);
    drop(lease);
    // Odd but valid keys arrive unchanged.
    for name in ["a b", "q?x=1#f", "100%", "%2F", "ü/日本", "a+b", "\"quoted\"\\", "...", "a."] {
        let lease = acquire(&dsync, name).await;
        let stored = agent().operator().kv_get(&format!("values/{name}"));
        assert!(stored.is_some_and(|entry| entry.session.is_some()), "{name}");
        drop(lease);
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!(agent().operator().kv_keys("values/"), Vec::<String>::new());
}

#[test]
fn addresses_that_name_no_agent_are_refused_before_anything_starts() {
    for bad in
        ["", "http://", "ftp://host", "http://host:99999", "http://host/?a=b", "http://[", "a b"]
    {
        let error = Dsync::builder("test").address(bad).start().expect_err(bad);
        assert!(error.to_string().contains("address"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_appears_later_is_used() {
    let agent = Agent::start();
    agent.kill();
    let dsync = at(agent.url(), "later").start().expect("Consul need not be there");
    dsync.ready().await.expect_err("there is no agent");
    let waiting = dsync.send(Acquire::new(key("k")));
    agent.restart();
    assert!(waiting.await.expect("an agent that runs").is_valid());
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}
