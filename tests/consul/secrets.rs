//! Secrets of every kind are planted, everything is logged and printed, and none is found.

use std::sync::Arc;
use std::time::Duration;

use actix_dsync::{
    Acquire, Campaign, Config, Dsync, Explain, List, Release, TryAcquire,
    events::{Filter, LockLost},
};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::json;

use crate::certificates::{Ca, TlsAgent};
use crate::credentials::{ask, auth_method, jwt, logins, policy};
use crate::locks::{key, pending};
use crate::process::Player;
use crate::support::consul::Agent;

const MANAGEMENT: &str = "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a01";
const PASSWORD: &str = "hunter2-planted-password";
const FIXED: &str = "77777777-2222-3333-4444-555555555555";

/// Prints the names and labels of metrics.
struct Prints;

impl Recorder for Prints {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        println!("METRIC {key:?}");
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        println!("METRIC {key:?}");
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        println!("METRIC {key:?}");
        Histogram::noop()
    }
}

/// Prints what the `log` facade gets.
struct Logs;

impl log::Log for Logs {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        println!("LOG {} {}: {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

/// The other process: uses locks with the configuration of its environment, and prints all.
pub(crate) async fn talk(_url: &str, _prefix: &str) {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .init();
    log::set_boxed_logger(Box::new(Logs)).expect("no other logger");
    log::set_max_level(log::LevelFilter::Trace);
    metrics::set_global_recorder(Prints).expect("no other recorder");
    let config = std::env::var("DSYNC_CONFIG").expect("a configuration");
    let config: Config = serde_json::from_str(&config).expect("a configuration");
    println!("{config:?} {}", serde_json::to_string(&config).expect("JSON"));
    let builder = Dsync::builder("secrets").config(config);
    println!("{builder:?}");
    let dsync = match builder.start() {
        Ok(dsync) => dsync,
        Err(error) => return println!("{error} {error:?}"),
    };
    println!("{dsync:?}");
    let mut lost = dsync.events::<LockLost>(Filter::All);
    match dsync.send(Acquire::new(key("k")).within(Duration::from_secs(10))).await {
        Ok(lease) => {
            println!("{lease:?}");
            println!("{:?}", dsync.send(Campaign::default()).await);
            println!("{:?}", dsync.send(TryAcquire::new(key("k"))).await);
            // Long enough for a watch and a renewal.
            tokio::time::sleep(Duration::from_secs(3)).await;
            println!("{:?}", dsync.send(Release(lease)).await);
        }
        Err(error) => println!("{error} {error:?}"),
    }
    let found = dsync.preflight().await.expect("it runs");
    println!("{found} {found:?} {}", json!(found));
    println!("{:?} {:?}", dsync.health(), dsync.send(Explain(key("k"))).await);
    let report = dsync.send(List).await.expect("a report");
    println!("{report} {report:?} {}", json!(report));
    let app = actix_web::App::new().configure(actix_dsync::web::status_routes(&dsync));
    let local = tokio::task::LocalSet::new();
    let page = local.run_until(async move {
        let app = actix_web::test::init_service(app).await;
        let request = actix_web::test::TestRequest::get().uri("/status");
        let request = request.insert_header(("Accept", "text/html")).to_request();
        actix_web::test::call_and_read_body(&app, request).await
    });
    println!("{}", String::from_utf8_lossy(&page.await));
    println!("{:?}", pending(&mut lost));
    println!("{:?}", dsync.shutdown(Duration::from_secs(5)).await);
}

/// What another process prints with this configuration.
fn log_of(config: &serde_json::Value) -> Vec<String> {
    let config = config.to_string();
    Player::start_with("secrets", "", "", &[("DSYNC_CONFIG", &config)]).ended()
}

/// Checks that every type that may hold a secret was printed.
fn assert_printed(log: &[String]) {
    let list = include_str!("../support/public-types.txt");
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (name, text) = line.split_once(' ').expect("a name and a text");
        let is_printed = text == "-" || log.iter().any(|line| line.contains(text));
        assert!(is_printed, "no {name} was printed: {text}");
    }
}

fn assert_secret(log: &[String], secrets: &[&str]) {
    for level in ["TRACE", "LOG TRACE rustls", "METRIC"] {
        assert!(log.iter().any(|line| line.contains(level)), "no {level} among {}", log.len());
    }
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let leaks: Vec<_> = log.iter().filter(|line| line.contains(secret)).collect();
        assert!(leaks.is_empty(), "{secret}: {leaks:#?}");
    }
}

#[test]
fn no_planted_secret_is_in_logs_reports_metrics_pages_or_debug_texts() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let own = ca.certify(&["localhost", "127.0.0.1"]);
    let server = TlsAgent::start_as(Agent::builder().acl(MANAGEMENT), own, Some(&clients));
    policy(&server.agent);
    let signer = auth_method(&server.agent, "secrets");
    let folder = &server.folder;
    let (cert, own) = clients.certify(&["client"]);
    let bearer = jwt(&signer);
    let basic = format!("me:{PASSWORD}");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &basic);
    let common = json!({
        "address": server.url(),
        "http_auth": basic,
        "tls": {
            "ca_file": folder.write("ca.pem", &ca.pem),
            "client_cert": folder.write("client.pem", &cert),
            "client_key": folder.write("client.key", &own),
        },
    });
    let with = |field: &str, value: serde_json::Value| {
        let mut config = common.clone();
        config[field] = value;
        config
    };
    let mut secrets = vec![PASSWORD, encoded.as_str(), bearer.as_str(), MANAGEMENT, FIXED];
    secrets.extend(own.lines().filter(|line| !line.contains("PRIVATE KEY")));
    let login = json!({
        "auth_method": "secrets", "bearer_token_file": folder.write("bearer", &bearer),
    });

    // The token of the login is known only while it lasts.
    let agent = Arc::new(server.agent.operator());
    let watcher = std::thread::spawn({
        let agent = Arc::clone(&agent);
        move || {
            crate::support::eventually(Duration::from_secs(60), || {
                let tokens = agent.ask("GET", "/v1/acl/tokens", b"").ok()?.json();
                let token = tokens.as_array()?.iter().find(|t| t["AuthMethod"] == "secrets")?;
                let id = token["AccessorID"].as_str()?.to_owned();
                let token = agent.ask("GET", &format!("/v1/acl/token/{id}"), b"").ok()?.json();
                Some(token["SecretID"].as_str()?.to_owned())
            })
        }
    });
    let log = log_of(&with("login", login));
    let issued = watcher.join().expect("no panic").expect("a login");
    assert!(log.iter().any(|line| line.contains("Lease")), "no lock was granted: {log:#?}");
    assert_printed(&log);
    assert_secret(&log, &[&secrets[..], &[issued.as_str()]].concat());
    assert_eq!(logins(&server.agent, "secrets"), Vec::<String>::new());

    // Tokens that work, that are not known, and that cannot be sent.
    let created =
        ask(&server.agent, "PUT", "/v1/acl/token", &json!({ "Policies": [{ "Name": "locks" }] }));
    let token = created["SecretID"].as_str().expect("a token");
    let file = folder.write("token", token);
    assert_secret(&log_of(&with("token_file", json!(file))), &[&secrets[..], &[token]].concat());
    assert_secret(&log_of(&with("token", json!(FIXED))), &secrets);
    let bad = "planted token with spaces";
    let log = log_of(&with("token", json!(bad)));
    assert!(log.iter().all(|line| !line.contains(bad)), "{log:#?}");
}
