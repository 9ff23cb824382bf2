//! Taking a lock away from its holder, and listing the holders of all processes.

use std::time::Duration;

use actix_dsync::{
    Acquire, Campaign, Dsync, Error, Holder, Inspect, Lease, LockValue, LossReason, TryAcquire,
    UpdateValue,
    admin::{ForceRelease, Holders, StepDown},
    embedded::{Embedded, EmbeddedRight},
    events::{Deposed, Filter, ForceReleased, LockLost, SteppedDown},
};
use futures::{FutureExt, StreamExt};

use crate::{acquire, key, runtime};

const SECOND: Duration = Duration::from_secs(1);

async fn holder_of(dsync: &Dsync, name: &str) -> Holder {
    dsync.send(Inspect(key(name))).await.unwrap().expect("it is held")
}

/// Panics instead of waiting for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SECOND * 300, what).await.expect("it comes")
}

/// The reply comes when the key is free, not only when its session has ended.
#[actix::test]
async fn a_key_that_is_written_over_while_it_is_kept_is_free_when_the_reply_comes() {
    tokio::time::pause();
    for is_unanswered in [false, true] {
        let Scene { consul, admin, lease, holder, .. } = Scene::begin().await;
        let victim = holder_of(&admin, "k").await;
        let asked = admin.send(ForceRelease::of(key("k"), &victim));
        let entry = || consul.entries().into_iter().find(|entry| entry.key == "k").unwrap();
        let edited = async {
            // Just before the release.
            tokio::time::sleep(Duration::from_millis(14_999)).await;
            assert_eq!(holding_session(&consul, "k").as_deref(), Some("admin (force-release)"));
            consul.write_key_with_flags("k", "edited", entry().flags);
            consul.lose_replies(u32::from(is_unanswered));
        };
        soon(futures::future::join(asked, edited)).await.0.unwrap();
        assert_eq!((entry().session, &*entry().value), (None, &b"edited"[..]));
        // No lock-delay runs.
        let next = admin.send(Acquire::new(key("k")).within(SECOND)).await;
        assert!(next.is_ok(), "{is_unanswered}: {next:?}");
        drop((lease, holder));
    }
}

#[actix::test]
async fn a_lock_that_was_taken_away_and_cannot_be_released_is_never_reported_as_untouched() {
    tokio::time::pause();
    for right in [EmbeddedRight::KeyRead, EmbeddedRight::KeyWrite, EmbeddedRight::Token] {
        for is_edited in [false, true] {
            let Scene { consul, admin, lease, holder, .. } = Scene::begin().await;
            let victim = holder_of(&admin, "k").await;
            let asked = admin.send(ForceRelease::of(key("k"), &victim));
            let withdrawn = async {
                tokio::time::sleep(SECOND * 5).await;
                if is_edited {
                    consul.write_key_with_flags("k", "edited", 0);
                }
                consul.allow(right, false);
            };
            let released = soon(futures::future::join(asked, withdrawn)).await.0;
            let Err(Error::Unknown { key: Some(of), .. }) = released else {
                panic!("{right:?} {is_edited}: {released:?}")
            };
            assert_eq!(of, key("k"));
            drop((lease, holder));
        }
    }
}

#[actix::test]
async fn a_lock_with_the_longest_value_is_taken_away() {
    let Scene { consul, admin, lease, holder, .. } = Scene::new().await;
    let longest = vec![b'x'; LockValue::MAX_LEN];
    holder.send(UpdateValue::of(&lease, longest.clone())).await.unwrap();
    let victim = holder_of(&admin, "k").await;
    soon(admin.send(ForceRelease::of(key("k"), &victim))).await.unwrap();
    let entry = consul.entries().into_iter().find(|entry| entry.key == "k").unwrap();
    assert_eq!((entry.session, entry.value), (None, longest));
    drop((lease, holder));
}

/// The name that its caller gave the session that holds the key.
fn holding_session(consul: &Embedded, name: &str) -> Option<String> {
    let id = consul.entries().into_iter().find(|entry| entry.key == name)?.session?;
    Some(consul.sessions().into_iter().find(|session| session.id == id)?.name)
}

struct Scene {
    consul: Embedded,
    /// The network of the holder.
    link: Embedded,
    holder: Dsync,
    admin: Dsync,
    lease: Lease,
}

impl Scene {
    async fn new() -> Self {
        tokio::time::pause();
        Self::begin().await
    }

    async fn begin() -> Self {
        let consul = Embedded::new();
        let link = consul.link();
        let (holder, admin) = (runtime("holder", &link), runtime("admin", &consul));
        let lease = acquire(&holder, "k").await;
        Self { consul, link, holder, admin, lease }
    }
}

#[actix::test]
async fn a_lock_that_is_taken_away_is_kept_while_its_cut_off_holder_may_use_it() {
    let Scene { consul, link, admin, lease, holder } = Scene::new().await;
    let victim = holder_of(&admin, "k").await;
    let mut told = admin.events::<ForceReleased>(Filter::All);
    let next = admin.clone();
    let waiting = actix_rt::spawn(async move { acquire(&next, "k").await });
    tokio::time::sleep(SECOND * 3).await;
    link.cut();
    let asked = admin.send(ForceRelease::of(key("k"), &victim));
    let event = soon(told.next()).await.unwrap();
    assert_eq!((&event.holder.session, event.keeps), (&victim.session, SECOND * 15));
    // The holder does not know. Nobody gets the lock while its lease may last.
    assert!(lease.is_valid());
    assert_eq!(holding_session(&consul, "k").as_deref(), Some("admin (force-release)"));
    let reason = soon(lease.lost()).await;
    assert_eq!(reason, LossReason::DeadlinePassed);
    assert!(!waiting.is_finished(), "the next owner overlaps with the lease");
    assert_eq!(soon(asked).await, Ok(event));
    let next = soon(waiting).await.unwrap();
    assert!(next.is_valid() && next.token() > lease.token());
    assert!(!consul.sessions().iter().any(|session| session.name.contains("force-release")));
    drop(holder);
}

#[actix::test]
async fn a_holder_that_consul_reaches_learns_at_once_that_its_lock_was_taken_away() {
    let Scene { admin, lease, holder, .. } = Scene::new().await;
    tokio::time::sleep(SECOND * 2).await;
    let mut lost = holder.events::<LockLost>(Filter::All);
    let victim = holder_of(&admin, "k").await;
    let asked = admin.send(ForceRelease::of(key("k"), &victim));
    let told = soon(lost.next()).await.unwrap();
    assert_eq!((told.token, told.reason), (lease.token(), LossReason::ForceReleased));
    assert!(asked.now_or_never().is_none(), "it keeps the key for the whole lease");
    // The take-over goes on although nobody waits for its reply.
    let next = acquire(&holder, "k").await;
    assert!(next.token() > lease.token());
}

#[actix::test]
async fn an_immediate_release_waits_for_nothing() {
    let Scene { admin, holder, lease, .. } = Scene::new().await;
    tokio::time::sleep(SECOND * 2).await;
    let victim = holder_of(&admin, "k").await;
    let began = tokio::time::Instant::now();
    let event = admin.send(ForceRelease::of(key("k"), &victim).immediate()).await.unwrap();
    assert_eq!(event.keeps, Duration::ZERO);
    assert!(began.elapsed() < SECOND);
    assert_eq!(soon(lease.lost()).await, LossReason::ForceReleased);
    let next = admin.send(TryAcquire::new(key("k"))).await.unwrap();
    assert!(next.is_valid());
    drop(holder);
}

#[actix::test]
async fn an_immediate_release_whose_reply_was_lost_is_told_although_the_leader_leads_again() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (holder, admin) = (runtime("holder", &consul.link()), runtime("admin", &consul));
    let tenure = holder.send(Campaign::on(key("k"))).await.unwrap();
    let term = soon(tenure.elected()).await;
    tokio::time::sleep(SECOND * 2).await;
    let victim = holder_of(&admin, "k").await;
    let mut taken = admin.events::<ForceReleased>(Filter::All);
    consul.lose_replies(1);
    let event = admin.send(ForceRelease::of(key("k"), &victim).immediate()).await.unwrap();
    assert_eq!(soon(taken.next()).await.map(|told| told.holder), Some(event.holder));
    assert!(!term.is_valid());
    let again = tenure.term().expect("it was elected again");
    assert!(again.token() > term.token());
}

#[actix::test]
async fn a_newer_holder_is_never_hit() {
    let Scene { consul, admin, holder, lease, .. } = Scene::new().await;
    let victim = holder_of(&admin, "k").await;
    let conflict = || Error::Conflict { key: key("k") };
    let both = |victim: &Holder| {
        let wait = ForceRelease::of(key("k"), victim);
        [wait.clone(), wait.immediate()]
    };
    drop(lease);
    tokio::time::sleep(SECOND).await;
    for asked in both(&victim) {
        assert_eq!(admin.send(asked).await, Err(conflict()), "nobody holds it");
    }
    let lease = acquire(&holder, "k").await;
    for asked in both(&victim) {
        assert_eq!(admin.send(asked).await, Err(conflict()), "a newer ownership");
    }
    let victim = holder_of(&admin, "k").await;
    holder.send(UpdateValue::of(&lease, "busy")).await.unwrap();
    for asked in both(&victim) {
        assert_eq!(admin.send(asked).await, Err(conflict()), "it has changed its value");
    }
    assert!(lease.is_valid());
    assert!(!consul.sessions().iter().any(|session| session.name.contains("force-release")));
}

/// Leads "lead" as one of two candidates, or as the only one.
async fn leader(consul: &Embedded, others: bool) -> (Dsync, Option<Dsync>, Holder) {
    let first = runtime("first", consul);
    let tenure = first.send(Campaign::on(key("lead"))).await.unwrap();
    soon(tenure.elected()).await;
    let second = others.then(|| runtime("second", consul));
    if let Some(second) = &second {
        let _ = second.send(Campaign::on(key("lead"))).await.unwrap();
    }
    tokio::time::sleep(SECOND * 3).await;
    let holder = holder_of(&first, "lead").await;
    (first, second, holder)
}

#[actix::test]
async fn a_leader_that_is_made_to_step_down_leaves_the_lead_to_another_candidate() {
    tokio::time::pause();
    for _ in 0..10 {
        let consul = Embedded::new();
        let admin = runtime("admin", &consul);
        let (first, second, holder) = leader(&consul, true).await;
        let mut told = admin.events::<SteppedDown>(Filter::All);
        let mut deposed = first.events::<Deposed>(Filter::All);
        let asked = admin.send(StepDown::of(key("lead"), &holder));
        let event = soon(told.next()).await.unwrap();
        assert_eq!((&event.leader.session, event.keeps), (&holder.session, SECOND * 15));
        assert_eq!(soon(deposed.next()).await.unwrap().reason, LossReason::ForceReleased);
        assert_eq!(holding_session(&consul, "lead").as_deref(), Some("admin (step-down)"));
        assert_eq!(soon(asked).await, Ok(event));
        tokio::time::sleep(SECOND).await;
        assert!(holding_session(&consul, "lead").unwrap().starts_with("second#"));
        // The old leader's campaign goes on.
        second.unwrap().shutdown(SECOND * 5).await.unwrap();
        tokio::time::sleep(SECOND * 5).await;
        assert!(holding_session(&consul, "lead").unwrap().starts_with("first#"));
        assert!(!consul.sessions().iter().any(|session| session.name.contains("step-down")));
        first.shutdown(SECOND * 5).await.unwrap();
    }
}

#[actix::test]
async fn a_leader_that_steps_down_is_elected_again_if_nobody_else_contends() {
    tokio::time::pause();
    let consul = Embedded::new();
    let admin = runtime("admin", &consul);
    let (first, _, holder) = leader(&consul, false).await;
    soon(admin.send(StepDown::of(key("lead"), &holder))).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(holding_session(&consul, "lead"), None, "it stands back");
    tokio::time::sleep(SECOND * 4).await;
    assert!(holding_session(&consul, "lead").unwrap().starts_with("first#"));
    // Its value is its own again.
    let entry = consul.entries().into_iter().find(|entry| entry.key == "lead").unwrap();
    assert!(!String::from_utf8_lossy(&entry.value).contains("stand_back"));
    drop(first);
}

#[actix::test]
async fn a_newer_leader_is_never_made_to_step_down() {
    tokio::time::pause();
    let consul = Embedded::new();
    let admin = runtime("admin", &consul);
    let (first, second, holder) = leader(&consul, true).await;
    first.shutdown(SECOND * 5).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let refused = admin.send(StepDown::of(key("lead"), &holder)).await;
    assert_eq!(refused, Err(Error::Conflict { key: key("lead") }));
    assert!(holding_session(&consul, "lead").unwrap().starts_with("second#"));
    drop(second);
}

#[actix::test]
async fn the_holders_of_all_processes_are_listed() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    assert_eq!(one.send(Holders::default()).await, Ok(Vec::new()));
    let _leases = (
        acquire(&one, "jobs/a").await,
        acquire(&two, "jobs/b").await,
        acquire(&two, "other").await,
    );
    let tenure = one.send(Campaign::on(key("lead"))).await.unwrap();
    soon(tenure.elected()).await;
    consul.write_key("jobs/free", "not locked");
    let listed = async |asked: Holders| {
        let held = two.send(asked).await.unwrap();
        let name = |held: &actix_dsync::admin::HeldKey| held.holder.session_name.clone().unwrap();
        held.iter().map(|held| (held.key.clone(), name(held))).collect::<Vec<_>>()
    };
    let pair = |key: &str, name: &str| (key.to_owned(), name.to_owned());
    let all = [("jobs/a", "one"), ("jobs/b", "two"), ("lead", "one"), ("other", "two")];
    assert_eq!(listed(Holders::default()).await, all.map(|(key, name)| pair(key, name)));
    let jobs = [("jobs/a", "one"), ("jobs/b", "two")];
    assert_eq!(listed(Holders::below("jobs/")).await, jobs.map(|(key, name)| pair(key, name)));
    let held = two.send(Holders::below("jobs/a")).await.unwrap();
    assert_eq!(held[0].holder, holder_of(&one, "jobs/a").await);
}
