//! What the embedded Consul offers to a service's own tests.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use actix::prelude::*;
use actix_dsync::{
    Acquire, AcquireAll, AcquirePermit, Campaign, Dsync, Error, FencingToken, Holder, LossReason,
    Lost, TryAcquire, TryAcquirePermit, UpdateValue,
    admin::{ForceRelease, HeldKey, Holders, StepDown},
    embedded::{Embedded, MockLease},
    events::{
        Deposed, Elected, Filter, ForceReleased, LeaderChanged, LockAcquired, LockLost,
        LockReleased, SteppedDown, Subscribe,
    },
    fencing::{StoredEntry, Write},
    jobs::Turn,
};
use futures::StreamExt as _;

use crate::{acquire, key};

const SECOND: Duration = Duration::from_secs(1);

/// A service that stops when it has lost its lock.
struct Importer {
    stopped: Arc<Mutex<Option<LossReason>>>,
}

impl Actor for Importer {
    type Context = Context<Self>;
}

impl Handler<LockLost> for Importer {
    type Result = ();

    fn handle(&mut self, lost: LockLost, _: &mut Context<Self>) {
        *self.stopped.lock().unwrap() = Some(lost.reason);
    }
}

#[tokio::test]
async fn a_runtime_starts_with_one_line_under_tokio() {
    let dsync = Dsync::on_embedded("shop", &Embedded::new());
    assert!(acquire(&dsync, "k").await.is_valid());
}

#[actix::test]
async fn a_subscriber_hears_of_a_loss_that_a_test_causes() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = Dsync::on_embedded("shop", &consul);
    let stopped = Arc::default();
    let importer = Importer { stopped: Arc::clone(&stopped) }.start();
    let _ = dsync.send(Subscribe::to(importer.clone().recipient::<LockLost>())).await.unwrap();
    let lease = acquire(&dsync, "k").await;
    assert_eq!(consul.expire_sessions("another"), 0);
    assert_eq!(consul.expire_sessions("shop"), 1);
    assert_eq!(lease.lost().await, LossReason::SessionGone);
    tokio::time::sleep(SECOND).await;
    assert_eq!(stopped.lock().unwrap().take(), Some(LossReason::SessionGone));
}

#[actix::test]
async fn mocks_take_the_place_of_what_a_runtime_gives() {
    let token = FencingToken::try_from(7_u64).unwrap();
    let stopped = Arc::default();
    let importer = Importer { stopped: Arc::clone(&stopped) }.start();
    importer.send(LockLost::mock(key("k"), token, LossReason::KeyDeleted)).await.unwrap();
    assert_eq!(stopped.lock().unwrap().take(), Some(LossReason::KeyDeleted));
    let (lease, mock) = MockLease::new(key("k"), token);
    mock.lose(LossReason::KeyDeleted);
    assert!(!lease.is_valid());
    let lost = Lost::mock(key("k"), token, LossReason::KeyDeleted);
    assert_eq!(lease.run(std::future::pending::<()>()).await, Err(lost));
    let holder = Holder::mock("a-session", r#"{"host":"web-2"}"#);
    let held = Error::Held { key: key("k"), holder: Box::new(holder.clone()) };
    assert!(held.to_string().contains("a-session"), "{held}");
    let taken = ForceReleased::mock(key("k"), holder.clone(), SECOND);
    let stepped_down = SteppedDown::mock(key("k"), holder.clone(), SECOND);
    assert_eq!((&taken.holder, taken.keeps), (&stepped_down.leader, stepped_down.keeps));
    assert_eq!(HeldKey::mock("other/program", holder.clone()).holder, holder);
    let entry = StoredEntry::mock("paid", Some(token), 7);
    assert_eq!((&*entry.value, entry.token, entry.index), (&b"paid"[..], Some(token), 7));
    let changed = LeaderChanged::mock(key("k"), Some(holder));
    assert_eq!(changed.leader.unwrap().json().unwrap()["host"], "web-2");
    assert_eq!(LockAcquired::mock(key("k"), token).token, token);
    assert_eq!(LockReleased::mock(key("k"), token).token, token);
    assert_eq!(Elected::mock(key("k"), token).token, token);
    assert_eq!(Deposed::mock(key("k"), token, LossReason::Resigned).reason, LossReason::Resigned);
}

#[test]
fn a_mock_sees_what_it_is_asked_for() {
    let token = FencingToken::try_from(7_u64).unwrap();
    let (lease, mock) = MockLease::new(key("k"), token);
    let holder = Holder::mock("a-session", "");
    let keys = [
        Acquire::new(key("k")).value(String::from("text")).key().clone(),
        TryAcquire::new(key("k")).key().clone(),
        UpdateValue::of(&lease, "x").key().clone(),
        Write::under(&lease).delete(key("other")).key().clone(),
        ForceRelease::of(key("k"), &holder).key().clone(),
        StepDown::of(key("k"), &holder).key().clone(),
        AcquirePermit::new(key("k"), 3).prefix().clone(),
        TryAcquirePermit::new(key("k"), 3).prefix().clone(),
        mock.term().key().clone(),
    ];
    assert!(keys.iter().all(|asked| *asked == key("k")), "{keys:?}");
    let permits =
        (AcquirePermit::new(key("k"), 3).permits(), TryAcquirePermit::new(key("k"), 4).permits());
    assert_eq!(permits, (3, 4));
    let all = AcquireAll::new([key("b"), key("a")]);
    assert_eq!(all.keys().collect::<Vec<_>>(), [&key("a"), &key("b")]);
    assert_eq!((Campaign::default().key(), Campaign::on(key("k")).key()), (None, Some(&key("k"))));
    assert_eq!(Holders::below("jobs/").prefix(), "jobs/");
    let due = UNIX_EPOCH + SECOND * 7;
    let turn = Turn::mock(mock.term(), due);
    assert_eq!((turn.due(), turn.token()), (due, token));
}

#[actix::test]
async fn a_frozen_agent_answers_nobody_and_carries_out_what_arrived_when_it_thaws() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) =
        (Dsync::on_embedded("one", &consul.link()), Dsync::on_embedded("two", &consul));
    let held = acquire(&one, "a").await;
    two.ready().await.unwrap();
    consul.freeze();
    // The request reaches the agent, and its caller gives up.
    let refused = two.send(Acquire::new(key("b")).within(SECOND * 4)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(!consul.entries().iter().any(|entry| entry.key == "b"));
    assert_eq!(held.lost().await, LossReason::DeadlinePassed);
    tokio::time::sleep(SECOND * 60).await;
    assert!(consul.entries().iter().any(|entry| entry.session.is_some()), "its time stands still");
    consul.thaw();
    // The session ends now, and its lock-delay begins.
    let early = two.send(Acquire::new(key("a")).within(SECOND * 10)).await;
    assert!(matches!(early, Err(Error::WaitedTooLong { .. })), "{early:?}");
    // What was locked late is given back.
    tokio::time::sleep(SECOND * 40).await;
    for name in ["a", "b"] {
        assert!(one.send(TryAcquire::new(key(name))).await.is_ok(), "{name}");
    }
}

#[actix::test]
async fn an_agent_that_is_frozen_for_a_moment_costs_no_lock() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) =
        (Dsync::on_embedded("one", &consul.link()), Dsync::on_embedded("two", &consul));
    let held = acquire(&one, "k").await;
    let waiting = two.send(Acquire::new(key("k")));
    tokio::time::sleep(SECOND * 3).await;
    consul.freeze();
    tokio::time::sleep(SECOND * 3).await;
    consul.thaw();
    tokio::time::sleep(SECOND * 5).await;
    assert!(held.is_valid());
    drop(held);
    assert!(tokio::time::timeout(SECOND * 5, waiting).await.unwrap().unwrap().is_valid());
}

#[actix::test]
async fn late_replies_cost_nothing_until_they_are_later_than_a_request_waits() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (link, dsync) = {
        let link = consul.link();
        (link.clone(), Dsync::on_embedded("one", &link))
    };
    let lease = acquire(&dsync, "k").await;
    link.delay_replies(SECOND);
    tokio::time::sleep(SECOND * 60).await;
    assert!(lease.is_valid());
    let began = tokio::time::Instant::now();
    drop(acquire(&dsync, "late").await);
    assert!(began.elapsed() >= SECOND);
    link.delay_replies(SECOND * 20);
    assert_eq!(lease.lost().await, LossReason::DeadlinePassed);
    link.delay_replies(Duration::ZERO);
    assert!(acquire(&dsync, "k").await.is_valid());
}

#[actix::test]
async fn a_lost_reply_to_a_lock_or_a_release_leaves_nothing_locked() {
    tokio::time::pause();
    for lost in [1, 2, 3] {
        let consul = Embedded::new();
        let link = consul.link();
        let (one, two) = (Dsync::on_embedded("one", &link), Dsync::on_embedded("two", &consul));
        let mut told = one.events::<LockLost>(Filter::All);
        one.ready().await.unwrap();
        link.lose_replies(lost);
        let began = tokio::time::Instant::now();
        let lease = acquire(&one, "k").await;
        assert!(began.elapsed() >= SECOND, "{lost}: the reply was not lost");
        assert!(lease.is_valid());
        link.lose_replies(lost);
        drop(lease);
        let next = acquire(&two, "k").await;
        assert!(next.is_valid());
        assert!(futures::poll!(told.next()).is_pending(), "{lost}");
    }
}
