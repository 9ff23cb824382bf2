//! The ways to reach a real agent: TLS from files, unix sockets, a gateway's path, scopes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use actix_dsync::{
    Acquire, Builder, Campaign, Config, Dsync, Error, Inspect, Release, Released, TryAcquire,
    config::TlsSettings,
    events::{Filter, LockLost},
};

use crate::certificates::{Ca, Folder, TlsAgent};
use crate::locks::{acquire, at, is_of_the_session, key, next, pending, short_delay};
use crate::support::consul::Agent;
use crate::support::proxy::{Mode, Proxy};
use crate::support::stalls::Stalls;

const LOCAL: &[&str] = &["localhost", "127.0.0.1"];

/// Passes a lock from one runtime to another.
async fn pass_a_lock(builder: impl Fn() -> Builder) {
    let (one, two) = (builder().start().expect("valid"), builder().start().expect("valid"));
    let first = acquire(&one, "k").await;
    let refused = two.send(TryAcquire::new(key("k"))).await.expect_err("it is held");
    assert!(matches!(refused, Error::Held { .. }), "{refused}");
    let waiting = two.send(Acquire::new(key("k")).within(Duration::from_secs(30)));
    let token = first.token();
    assert_eq!(one.send(Release(first)).await, Ok(Released::Confirmed));
    let second = waiting.await.expect("granted");
    assert!(second.token() > token);
    for dsync in [one, two] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

async fn refusal(builder: Builder) -> String {
    let dsync = builder.start().expect("valid settings");
    let ready = tokio::time::timeout(Duration::from_secs(30), dsync.ready()).await;
    let error = ready.expect("in time").expect_err("no connection");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    error.to_string()
}

/// Waits for an error about the client certificate. The agent closes the connection as it says
/// why, so that single attempts fail without the reason.
async fn refusal_of_the_client(builder: Builder) -> String {
    let dsync = builder.start().expect("valid settings");
    let named = async {
        loop {
            let error = dsync.ready().await.expect_err("no connection").to_string();
            if error.contains("client certificate") {
                return error;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), named).await.expect("the cause is named")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_from_files_works_or_its_error_names_the_cause() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let server = TlsAgent::start(ca.certify(LOCAL), None);
    let folder = Folder::new();
    let trusted = folder.write("ca.pem", &ca.pem);
    let trusting = |file| at(server.url(), "files").tls_settings(file);
    let by_file = TlsSettings::default().with_ca_file(&trusted);
    pass_a_lock(|| trusting(by_file.clone())).await;

    let cas = Folder::new();
    cas.write("a.pem", &stranger.pem);
    cas.write("b.pem", &ca.pem);
    let by_folder = TlsSettings::default().with_ca_path(cas.file("."));
    pass_a_lock(|| trusting(by_folder.clone())).await;

    let wrong = folder.write("wrong.pem", &stranger.pem);
    let wrong = TlsSettings::default().with_ca_file(wrong);
    let text = refusal(trusting(wrong.clone())).await;
    assert!(text.contains("tls.ca_file") && text.contains("no trusted CA"), "{text}");
    let unverified = wrong.with_verify(false);
    pass_a_lock(|| trusting(unverified.clone())).await;

    let other_name = by_file.clone().with_server_name("server.dc1.consul");
    let text = refusal(trusting(other_name)).await;
    assert!(text.contains("tls.server_name") && text.contains("localhost"), "{text}");
    let named = by_file.clone().with_server_name("localhost");
    pass_a_lock(|| trusting(named.clone())).await;

    server.replace(ca.certify_until(LOCAL, Some(2020)));
    let text = refusal(trusting(by_file.clone())).await;
    assert!(text.contains("has expired"), "{text}");

    let plain = at(format!("https://{}", server.agent.http_addr()), "files").tls_settings(by_file);
    let text = refusal(plain).await;
    assert!(text.contains("does not speak TLS"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_sent_and_its_lack_is_named() {
    let (ca, clients, stranger) = (Ca::new(), Ca::new(), Ca::new());
    let server = TlsAgent::start(ca.certify(LOCAL), Some(&clients));
    let folder = Folder::new();
    let trusted = TlsSettings::default().with_ca_file(folder.write("ca.pem", &ca.pem));
    let own = |name: &str, (cert, own): (String, String)| {
        let cert = folder.write(&format!("{name}.pem"), &cert);
        let own = folder.write(&format!("{name}.key"), &own);
        at(server.url(), "mtls").tls_settings(trusted.clone().with_client_cert(cert, own))
    };
    let good = clients.certify(&["client"]);
    pass_a_lock(|| own("good", good.clone())).await;

    let text = refusal_of_the_client(at(server.url(), "mtls").tls_settings(trusted.clone())).await;
    assert!(text.contains("client certificate") && text.contains("tls.client_cert"), "{text}");
    let text = refusal_of_the_client(own("strange", stranger.certify(&["client"]))).await;
    assert!(text.contains("client certificate"), "{text}");
    let expired = clients.certify_until(&["client"], Some(2020));
    let text = refusal_of_the_client(own("expired", expired)).await;
    assert!(text.contains("client certificate"), "{text}");

    let (cert, _) = clients.certify(&["client"]);
    let mixed = own("mixed", (cert, good.1)).start().expect_err("they do not fit");
    assert!(mixed.to_string().contains("tls.client_cert and tls.client_key"), "{mixed}");
    let none = trusted.clone().with_ca_file("/nonexistent/ca.pem");
    let none = at(server.url(), "mtls").tls_settings(none).start().expect_err("no such file");
    assert!(none.to_string().contains("tls.ca_file '/nonexistent/ca.pem'"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_replaced_while_running_are_used_and_no_lock_is_lost() {
    let (old, new) = (Ca::new(), Ca::new());
    let server = TlsAgent::start(old.certify(LOCAL), None);
    let proxy = Proxy::to(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port)));
    let folder = Folder::new();
    let tls = TlsSettings::default().with_ca_file(folder.write("ca.pem", &old.pem));
    let url = proxy.url().replace("http://", "https://");
    let dsync = at(url, "replaced").tls_settings(tls).start().expect("valid settings");
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let lease = acquire(&dsync, "held").await;

    let renew = |ca: &Ca| {
        server.replace(ca.certify(LOCAL));
        folder.write("ca.pem", &ca.pem);
    };
    renew(&new);
    // Every connection is new after a reset.
    proxy.set(Mode::Reset);
    proxy.set(Mode::Forward);
    drop(acquire(&dsync, "after").await);
    // A file that holds no certificate leaves the last good one in use.
    folder.write("ca.pem", "being written");
    proxy.set(Mode::Reset);
    proxy.set(Mode::Forward);
    drop(acquire(&dsync, "still").await);
    renew(&old);
    proxy.set(Mode::Reset);
    proxy.set(Mode::Forward);
    drop(acquire(&dsync, "again").await);

    assert!(lease.is_valid());
    assert_eq!(pending(&mut lost), []);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_over_a_unix_socket() {
    let folder = Folder::new();
    let socket = folder.file("consul.sock");
    let config = format!(r#"addresses {{ http = "127.0.0.1 unix://{}" }}"#, socket.display());
    let agent = Agent::builder().config(config).start();
    let over_socket = || at(format!("unix://{}", socket.display()), "unix").timing(short_delay());
    pass_a_lock(over_socket).await;

    let (one, two) = (over_socket().start().expect("valid"), over_socket().start().expect("valid"));
    let mut lost = one.events::<LockLost>(Filter::All);
    let lease = acquire(&one, "lost").await;
    let taken = tokio::spawn({
        let two = two.clone();
        async move { acquire(&two, "lost").await }
    });
    let waiters: Vec<_> = (0..50)
        .map(|n| {
            let (holder, waiter) = (one.clone(), two.clone());
            tokio::spawn(async move {
                let name = format!("many/{n}");
                let held = acquire(&holder, &name).await;
                let waiting = waiter.send(Acquire::new(key(&name)));
                let _ = holder.send(Release(held)).await;
                waiting.await.expect("granted")
            })
        })
        .collect();
    for waiter in waiters {
        drop(waiter.await.expect("no panic"));
    }
    let holder = agent.operator().kv_get("unix/lost").and_then(|entry| entry.session);
    let stalls = Stalls::watch();
    agent.operator().destroy_session(&holder.expect("it is held"));
    let event = next(&mut lost, Duration::from_secs(10)).await;
    assert_eq!(event.token, lease.token());
    assert!(is_of_the_session(event.reason, &stalls), "{event:?}");
    assert!(taken.await.expect("no panic").token() > lease.token());

    let tenure = one.send(Campaign::on(key("leader"))).await.expect("started");
    let term = tenure.elected().await;
    assert!(term.is_valid());
    for dsync in [one, two] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    assert!(agent.operator().sessions().is_empty());

    let text = refusal(at("unix:///nonexistent/consul.sock", "unix")).await;
    assert!(text.contains("/nonexistent/consul.sock"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_pass_between_a_client_agent_and_its_server_and_stay_held() {
    let server = Agent::start();
    let client = Agent::builder().start_client_of(&server);
    let (near, far) = (|| at(client.url(), "client"), || at(server.url(), "client"));
    pass_a_lock(near).await;
    let one = near().start().expect("valid");
    let two = far().start().expect("valid");
    let mut lost = one.events::<LockLost>(Filter::All);
    let held = acquire(&one, "held").await;
    let holder = two.send(Inspect(held.key().clone())).await.expect("an answer").expect("held");
    assert_eq!(holder.node.as_deref(), Some(client.node()), "the session is the client agent's");
    let since = Instant::now();
    // The key passes to and fro; each wait is a blocking read through the client agent or not.
    let (mut owner, mut other) = (&one, &two);
    let mut lease = acquire(owner, "k").await;
    while since.elapsed() < Duration::from_secs(20) {
        let asked = Acquire::new(key("k")).within(Duration::from_secs(30));
        let waiting = other.send(asked);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let token = lease.token();
        assert_eq!(owner.send(Release(lease)).await, Ok(Released::Confirmed));
        lease = waiting.await.expect("granted");
        assert!(lease.token() > token && held.is_valid());
        (owner, other) = (other, owner);
    }
    assert!(held.remaining() > one.timing().lease() / 2, "it is renewed");
    assert_eq!(pending(&mut lost), []);
    drop((held, lease));
    for dsync in [one, two] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_own_datacenter_works_and_what_it_does_not_know_is_refused() {
    let agent = Agent::start();
    pass_a_lock(|| at(agent.url(), "dc").datacenter("dc1")).await;
    let text = refusal(at(agent.url(), "dc").datacenter("elsewhere")).await;
    assert!(text.contains("No path to datacenter"), "{text}");
    // Only Consul Enterprise knows these; nothing is locked in another place.
    let text = refusal(at(agent.url(), "ns").namespace("team")).await;
    assert!(text.contains("Enterprise"), "{text}");
    let text = refusal(at(agent.url(), "ns").partition("part")).await;
    assert!(text.to_lowercase().contains("partition"), "{text}");
    assert_eq!(agent.operator().kv_keys("ns/"), Vec::<String>::new());
}

#[test]
fn a_configuration_file_has_every_field() {
    let config: Config = serde_json::from_str(
        r#"{
            "address": "https://gateway/consul",
            "token_file": "/run/token",
            "http_auth": "me:hush",
            "tls": { "ca_file": "/ca.pem", "client_cert": "/c.pem", "client_key": "/c.key",
                     "server_name": "server.dc1.consul", "verify": true },
            "namespace": "team", "partition": "p", "datacenter": "dc1"
        }"#,
    )
    .expect("a configuration");
    assert!(!format!("{config:?}").contains("hush"));
    let refused = Dsync::builder("s").config(config).start().expect_err("no such file");
    assert!(refused.to_string().contains("'/run/token' cannot be read"), "{refused}");
}
