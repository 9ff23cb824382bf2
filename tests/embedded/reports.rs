//! The reports of a process.

use std::time::Duration;

use actix_dsync::{
    Acquire, Dsync, Error, Explain, List, LossReason, Observe,
    embedded::Embedded,
    report::{KeyState, What},
};
use serde_json::json;

use crate::{acquire, key, runtime};

#[actix::test]
async fn a_report_shows_the_state_of_each_key_in_this_process() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
    let mine = acquire(&dsync, "b/mine").await;
    let theirs = acquire(&other, "a/theirs").await;
    let behind = dsync.send(Acquire::new(key("b/mine")));
    let waiting = dsync.send(Acquire::new(key("a/theirs")));
    tokio::time::sleep(Duration::from_secs(60)).await;

    let report = dsync.send(List).await.unwrap();
    assert_eq!(report.service, "one");
    let keys: Vec<_> = report.keys.iter().map(|known| known.key.as_str()).collect();
    assert_eq!(keys, ["a/theirs", "b/mine"]);
    let [foreign, own] = report.keys.try_into().unwrap();
    assert_eq!((own.state, own.token, own.waiters), (KeyState::Held, Some(mine.token()), 1));
    assert_eq!(own.remaining, Some(mine.remaining()));
    assert_eq!((foreign.state, foreign.token, foreign.waiters), (KeyState::Waiting, None, 1));
    assert_eq!(foreign.remaining, None);
    assert_eq!(foreign.holder.clone().unwrap().json().unwrap()["service"], "other");
    assert_eq!(foreign.failover, dsync.timing().failover());
    assert_eq!(dsync.send(Explain(key("b/mine"))).await.unwrap(), own);

    let session = report.health.session.unwrap();
    assert_eq!(own.holder.unwrap().session, session.id);
    assert!(session.age >= Duration::from_secs(60));
    assert!(session.renewed <= dsync.timing().renew_period());
    assert_eq!(session.remaining + session.renewed, dsync.timing().lease());
    assert!(report.health.live && report.health.ready && report.health.trouble.is_none());
    assert_eq!(report.incidents, []);

    // The waiter has the key, and an unused key is idle.
    drop((waiting, mine));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(dsync.send(Explain(key("b/mine"))).await.unwrap().state, KeyState::Held);
    drop((behind, theirs));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = dsync.send(Explain(key("b/mine"))).await.unwrap();
    assert_eq!((idle.state, idle.holder, idle.waiters), (KeyState::Idle, None, 0));
    assert_eq!(dsync.send(List).await.unwrap().keys, []);
}

#[actix::test]
async fn a_former_holder_of_an_observed_key_is_not_reported() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
    let observer = dsync.send(Observe(key("k"))).await.unwrap();
    let theirs = acquire(&other, "k").await;
    let refused = dsync.send(Acquire::new(key("k")).within(Duration::from_secs(1))).await;
    assert!(matches!(refused, Err(Error::WaitedTooLong { .. })), "{refused:?}");
    assert!(dsync.send(Explain(key("k"))).await.unwrap().holder.is_some());
    drop(theirs);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(observer.leader(), None);
    assert_eq!(dsync.send(Explain(key("k"))).await.unwrap().holder, None);
}

#[actix::test]
async fn a_report_as_json_has_stable_names_and_whole_milliseconds() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = acquire(&dsync, "k").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let report = serde_json::to_value(dsync.send(List).await.unwrap()).unwrap();
    let names = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let expected = [
        "changes",
        "failover_ms",
        "health",
        "incidents",
        "keys",
        "lease_ms",
        "preflight",
        "service",
    ];
    assert_eq!(names(&report), expected);
    assert_eq!(report["preflight"], json!(null));
    assert!(dsync.preflight().await.unwrap().passed);
    let checked = serde_json::to_value(dsync.list().preflight).unwrap();
    assert_eq!(names(&checked), ["findings", "node", "passed", "policy", "version"]);
    assert_eq!(names(&checked["findings"][0]), ["check", "detail", "verdict"]);
    assert_eq!(checked["findings"][0]["verdict"], "good");
    assert_eq!(
        names(&report["health"]),
        ["blocked", "live", "ready", "saturation", "session", "stuck", "trouble"]
    );
    let session = ["age_ms", "fence", "id", "remaining_ms", "renewed_ms"];
    assert_eq!(names(&report["health"]["session"]), session);
    let of_key = &report["keys"][0];
    let expected = [
        "failover_ms",
        "holder",
        "key",
        "last_error",
        "remaining_ms",
        "role",
        "state",
        "token",
        "waiters",
    ];
    assert_eq!(names(of_key), expected);
    assert_eq!((&of_key["key"], &of_key["state"]), (&json!("k"), &json!("held")));
    assert_eq!(of_key["token"], json!(lease.token().as_u64()));
    assert_eq!(report["failover_ms"], json!(45_000));
    assert_eq!(of_key["holder"]["value"]["service"], "one");
    let holder = ["node", "session", "session_name", "since", "value"];
    assert_eq!(names(&of_key["holder"]), holder);
}

#[actix::test]
async fn a_loss_is_reported_as_an_incident_and_as_the_last_error() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = acquire(&dsync, "k").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(consul.delete_key("k"));
    lease.lost().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let known = dsync.send(Explain(key("k"))).await.unwrap();
    assert_eq!(known.last_error.as_deref(), Some("lost: the key was deleted"));
    let session = dsync.health().session.unwrap().id;
    assert!(consul.destroy_session(&session));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let report = dsync.send(List).await.unwrap();
    let told: Vec<_> = report.incidents.iter().map(|m| (m.key.clone(), m.what.as_str())).collect();
    let session_lost = "session lost: the Consul session is gone";
    assert_eq!(told, [(None, session_lost), (Some(key("k")), "lost: the key was deleted")]);
    assert!(report.incidents[0].ago <= Duration::from_secs(5), "{:?}", report.incidents);
    assert!(report.health.ready, "there is another session");
    let [change] = &report.changes[..] else { panic!("{:?}", report.changes) };
    let expected = (&key("k"), What::Lost, Some(LossReason::KeyDeleted));
    assert_eq!((&change.key, change.what, change.reason), expected);
}

#[actix::test]
async fn a_process_without_consul_or_after_its_shutdown_is_live_and_not_ready() {
    // Nobody listens on this address. It is a real socket, so use the real clock.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dsync = Dsync::builder("one").address(nobody.to_string()).start().unwrap();
    let why = dsync.ready().await.unwrap_err();
    let health = dsync.health();
    assert!(health.live && !health.ready, "{health:?}");
    assert_eq!((health.session, health.trouble), (None, Some(why.to_string())));
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    let health = dsync.health();
    assert!(health.live && !health.ready, "{health:?}");
    assert_eq!(dsync.send(List).await.unwrap().keys, []);
}
