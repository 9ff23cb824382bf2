//! The reports of a process.

use std::time::Duration;

use actix_dsync::{
    Acquire, AcquireAll, Dsync, Error, Explain, List, LossReason, Observe,
    embedded::{Embedded, EmbeddedRight},
    report::{Check, Finding, Hindrance, KeyReport, KeyState, Verdict, What, Why},
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
    assert_eq!(report.failover, dsync.timing().failover());
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
async fn a_preflight_that_runs_out_of_time_says_so_and_shows_the_policy_for_what_it_found() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    consul.allow(EmbeddedRight::KeyWrite, false);
    consul.delay_replies(Duration::from_millis(1500));
    let keys = (0..10).map(|number| key(&format!("jobs/{number}")));
    let found = dsync.preflight_for(keys).await.unwrap();
    let agent: Vec<_> = found.findings.iter().filter(|one| one.check == Check::Agent).collect();
    let [Finding { verdict: Verdict::Good, .. }, late] = agent[..] else { panic!("{found}") };
    assert_eq!(late.verdict, Verdict::Failed);
    assert!(late.detail.contains("name fewer keys"), "{found}");
    assert!(found.policy.is_some_and(|policy| policy.contains("key_prefix \"jobs/\"")));
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
        "held_ms",
        "holder",
        "key",
        "last_error",
        "remaining_ms",
        "role",
        "state",
        "token",
        "waited_ms",
        "waiters",
        "why",
    ];
    assert_eq!(names(of_key), expected);
    assert_eq!((&of_key["key"], &of_key["state"]), (&json!("k"), &json!("held")));
    assert_eq!(of_key["token"], json!(lease.token().as_u64()));
    assert_eq!(report["failover_ms"], json!(45_000));
    assert_eq!(of_key["holder"]["value"]["service"], "one");
    let holder = ["index", "node", "session", "session_name", "value"];
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

/// Why a caller of `dsync` that waits for `k` does not get it, after `wait`.
async fn why(dsync: &Dsync, wait: Duration) -> Why {
    let waiting = dsync.send(Acquire::new(key("k")));
    tokio::time::sleep(wait).await;
    let report = explained(dsync).await;
    drop(waiting);
    report.why.unwrap_or_else(|| panic!("no reason"))
}

/// The report on `k`, which says the same in words, as JSON and on one line.
async fn explained(dsync: &Dsync) -> KeyReport {
    let report = dsync.send(Explain(key("k"))).await.unwrap();
    if let Some(why) = &report.why {
        assert!(report.to_string().contains(&why.text), "{report}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["why"]["text"], json!(why.text));
        assert_eq!(why.to_string(), why.text);
        let left = why.left.map(|left| u64::try_from(left.as_millis()).unwrap());
        assert_eq!(json["why"]["left_ms"], json!(left));
    }
    report
}

#[actix::test]
async fn who_waits_for_another_holder_sees_which_and_since_when() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let lease = acquire(&one, "k").await;
    let found = why(&two, Duration::from_secs(30)).await;
    assert_eq!((found.kind, found.left), (Hindrance::Held, None));
    assert!(found.text.starts_with("held by session "), "{}", found.text);
    assert!(
        found.text.contains("\"one\"") && found.text.contains("first seen 30"),
        "{}",
        found.text
    );

    // Within one process.
    let waiting = one.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let report = explained(&one).await;
    let found = report.why.unwrap();
    assert_eq!(found.kind, Hindrance::Held);
    assert_eq!(found.text, "held by another caller of this process for 40.0s");
    let seconds = |span: Option<Duration>| span.map(|span| span.as_secs());
    assert_eq!((seconds(report.held), seconds(report.waited)), (Some(40), Some(10)));
    drop((lease, waiting));
}

#[actix::test]
async fn who_waits_for_a_lock_delay_sees_how_long_it_lasts() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let lease = acquire(&one, "k").await;
    let waiting = two.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let session = one.health().session.unwrap().id;
    assert!(consul.destroy_session(&session));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let found = explained(&two).await.why.unwrap();
    assert_eq!(found.kind, Hindrance::LockDelay);
    let left = found.left.unwrap();
    assert!((Duration::from_secs(9)..=Duration::from_secs(10)).contains(&left), "{left:?}");
    assert!(
        found.text.starts_with("lock-delay: Consul keeps the key closed for "),
        "{}",
        found.text
    );
    // Another process knows only that there is one.
    let late = runtime("late", &consul);
    let found = why(&late, Duration::from_secs(2)).await;
    assert_eq!(found.kind, Hindrance::LockDelay);
    assert!(found.text.contains("for an unknown time; the next attempt is in"), "{}", found.text);
    drop((lease, waiting));
}

#[actix::test]
async fn who_has_no_session_or_an_agent_that_does_not_answer_sees_that() {
    tokio::time::pause();
    let consul = Embedded::new();
    let link = consul.link();
    let dsync = runtime("one", &link);
    dsync.ready().await.unwrap();
    link.cut();
    let waiting = dsync.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_secs(8)).await;
    let found = explained(&dsync).await.why;
    let kinds = [Hindrance::Unavailable, Hindrance::Unclear];
    assert!(found.as_ref().is_none_or(|why| kinds.contains(&why.kind)), "{found:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let found = explained(&dsync).await.why.unwrap();
    assert_eq!(found.kind, Hindrance::NoSession);
    assert!(found.text.starts_with("no session: "), "{}", found.text);
    drop(waiting);
}

#[actix::test]
async fn a_candidate_sees_that_the_key_is_no_lock_of_ours() {
    tokio::time::pause();
    let consul = Embedded::new();
    consul.write_key("k", "a setting");
    let dsync = runtime("one", &consul);
    let _tenure = dsync.send(actix_dsync::Campaign::on(key("k"))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let found = explained(&dsync).await.why.unwrap();
    assert_eq!(found.kind, Hindrance::FlagConflict);
    assert!(found.text.contains("with the flags 0"), "{}", found.text);
    assert!(found.text.contains("the next attempt is in ") && found.left.is_some());
}

#[actix::test]
async fn a_candidate_whose_token_lacks_a_right_sees_which_and_when_it_tries_again() {
    tokio::time::pause();
    for newer in [false, true] {
        let consul = Embedded::new().newer(newer);
        let dsync = runtime("one", &consul);
        dsync.ready().await.unwrap();
        consul.allow(EmbeddedRight::KeyWrite, false);
        let tenure = dsync.send(actix_dsync::Campaign::on(key("k"))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let found = explained(&dsync).await.why.unwrap();
        assert_eq!(found.kind, Hindrance::Denied);
        assert!(found.text.contains("Consul denied key:write on \"k\""), "{}", found.text);
        assert!(found.text.contains("the next attempt is in ") && found.left.is_some());
        consul.allow(EmbeddedRight::KeyWrite, true);
        tenure.elected().await;
    }
}

#[actix::test]
async fn who_waits_for_a_set_sees_that_another_key_is_not_free() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let lease = acquire(&one, "other").await;
    let waiting = two.send(AcquireAll::new([key("k"), key("other")]));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let found = explained(&two).await.why.unwrap();
    assert_eq!((found.kind, found.left), (Hindrance::Gathering, None));
    drop(lease);
    assert!(waiting.await.unwrap().is_valid());
}

#[actix::test]
async fn who_rests_in_a_crowd_sees_that_and_when_it_reads_the_key_again() {
    tokio::time::pause();
    let consul = Embedded::new();
    let crowd: Vec<_> = (0..20).map(|n| runtime(&format!("r{n}"), &consul)).collect();
    for dsync in crowd.clone() {
        actix_rt::spawn(async move {
            loop {
                let lease = acquire(&dsync, "k").await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(lease);
            }
        });
    }
    let mut resting = None;
    for _ in 0..3_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        for dsync in &crowd {
            let why = dsync.explain(&key("k")).why;
            resting = resting.or(why.filter(|why| why.kind == Hindrance::Crowd));
        }
        if resting.is_some() {
            break;
        }
    }
    let why = resting.expect("one of them rests");
    assert!(why.text.contains("many wait for it, so this process rests"), "{}", why.text);
    assert!(why.left.is_some() && why.text.contains("reads it again in "), "{}", why.text);
}

#[actix::test]
async fn a_hold_or_a_wait_that_lasts_too_long_is_an_incident_once_and_a_term_is_none() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder.warn_after(Duration::from_secs(20)).start().unwrap();
    let tenure = dsync.send(actix_dsync::Campaign::default()).await.unwrap();
    tenure.elected().await;
    let lease = acquire(&dsync, "k").await;
    let waiting = dsync.send(Acquire::new(key("k")));
    let short = acquire(&dsync, "short").await;
    tokio::time::sleep(Duration::from_secs(19)).await;
    drop(short);
    assert_eq!(dsync.list().incidents, []);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let told: Vec<_> = dsync.list().incidents.into_iter().map(|it| (it.key, it.what)).collect();
    let held = format!("held for 20s by one caller, token {}", lease.token());
    let waits = "a caller has waited for 20s".to_owned();
    assert_eq!(told, [(Some(key("k")), waits), (Some(key("k")), held)]);

    // The next hold is another.
    drop(lease);
    let next = waiting.await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let told = &dsync.list().incidents[0].what;
    assert!(told.ends_with(&format!("token {}", next.token())), "{told}");
}

#[actix::test]
async fn callers_that_wait_for_each_other_in_a_circle_are_named() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (a, b) = (acquire(&dsync, "a").await, acquire(&dsync, "b").await);
    let wants = |name: &str| Acquire::new(key(name)).within(Duration::from_secs(30));
    let one = dsync.send(wants("b").holding(&a));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(dsync.list().incidents, [], "a chain is no circle");
    let two = dsync.send(wants("a").holding(&b));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let incidents = dsync.list().incidents;
    let told: Vec<_> = incidents.iter().map(|it| (it.key.clone().unwrap(), &*it.what)).collect();
    let circle = "callers of this process wait for each other: who holds a waits for b, who holds b waits for a";
    assert_eq!(told, [(key("b"), circle), (key("a"), circle)], "once each");
    // It ends when one of them gives up.
    drop((two, b));
    assert!(one.await.unwrap().is_valid());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(dsync.list().incidents.len(), 2);
}
