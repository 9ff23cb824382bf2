//! Campaigns: the leader, the events, and their order.

use std::{cell::RefCell, future::Future, rc::Rc, time::Duration};

use actix::prelude::*;
use actix_dsync::{
    Acquire, Campaign, ConfigError, Dsync, Error, Key, LossReason, Observe, Released, Resign,
    Tenure, TryAcquire,
    embedded::Embedded,
    events::{
        Deposed, Elected, Event, Events, Filter, LeaderChanged, LockAcquired, LockLost,
        LockReleased, Subscribe,
    },
};
use futures::{FutureExt, StreamExt};

use crate::{acquire, in_a_task, key, runtime, steps};

const SECOND: Duration = Duration::from_secs(1);

async fn campaign(dsync: &Dsync) -> Tenure {
    dsync.send(Campaign::on(key("k"))).await.unwrap()
}

/// Panics instead of waiting for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SECOND * 120, what).await.expect("it comes")
}

fn taken<E: Event>(events: &mut Events<E>) -> Vec<E> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

/// The session that holds the key according to the store.
fn holder(consul: &Embedded) -> Option<String> {
    consul.entries().into_iter().find(|entry| entry.key == "k")?.session
}

/// Records all events in order, with the state of its tenure at that time.
struct Listener {
    told: Rc<RefCell<Vec<&'static str>>>,
    tenure: Option<Tenure>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl<E: Event> Handler<E> for Listener {
    type Result = ();

    fn handle(&mut self, event: E, _: &mut Context<Self>) {
        let event = format!("{event:?}");
        let led = self.tenure.as_ref().is_some_and(Tenure::is_leader);
        let known =
            ["LockAcquired", "LockLost", "LockReleased", "Elected", "Deposed", "LeaderChanged"];
        let name = known.into_iter().find(|name| event.starts_with(name)).unwrap();
        let word = match name {
            "LeaderChanged" if event.contains("leader: None") => "NoLeader",
            "Deposed" if led => "Deposed, and leads",
            name => name,
        };
        self.told.borrow_mut().push(word);
    }
}

/// Subscribes to everything for the lifetime of the address.
async fn listen(
    dsync: &Dsync,
    tenure: Option<Tenure>,
) -> (Addr<Listener>, Rc<RefCell<Vec<&'static str>>>) {
    let told = Rc::default();
    let actor = Listener { told: Rc::clone(&told), tenure }.start();
    dsync.send(Subscribe::<LockAcquired>::to(actor.clone().recipient())).await.unwrap();
    dsync.send(Subscribe::<LockLost>::to(actor.clone().recipient())).await.unwrap();
    dsync.send(Subscribe::<LockReleased>::to(actor.clone().recipient())).await.unwrap();
    dsync.send(Subscribe::<Elected>::to(actor.clone().recipient())).await.unwrap();
    dsync.send(Subscribe::<Deposed>::to(actor.clone().recipient())).await.unwrap();
    dsync.send(Subscribe::<LeaderChanged>::to(actor.clone().recipient())).await.unwrap();
    (actor, told)
}

#[actix::test]
async fn elections_losses_and_resignations_are_reported_in_a_fixed_order() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (_listener, told) = listen(&dsync, None).await;
    let tenure = campaign(&dsync).await;
    assert!(!tenure.is_leader(), "the reply does not wait for the election");
    soon(tenure.elected()).await;
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(told.take(), ["LockAcquired", "Elected", "LeaderChanged"]);

    consul.delete_key("k");
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(
        told.take(),
        ["LockLost", "Deposed", "NoLeader", "LockAcquired", "Elected", "LeaderChanged"]
    );

    assert_eq!(dsync.send(Resign::of(&tenure)).await, Ok(Some(Released::Confirmed)));
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(told.take(), ["Deposed", "LockReleased", "NoLeader"]);
}

#[actix::test]
async fn every_way_to_lose_leadership_deposes_once_before_the_next_election() {
    type Fault = fn(&Embedded);
    let faults: [(&str, Fault); 6] = [
        ("the session is destroyed", |consul| {
            assert!(consul.destroy_session(&holder(consul).unwrap()));
        }),
        ("the agent leaves", Embedded::leave),
        ("the key is deleted", |consul| assert!(consul.delete_key("k"))),
        ("the key is released by force", |consul| assert!(consul.force_release("k"))),
        ("the agent restarts empty", Embedded::restart_empty),
        ("the session is destroyed, and the key deleted", |consul| {
            assert!(consul.destroy_session(&holder(consul).unwrap()));
            consul.delete_key("k");
        }),
    ];
    tokio::time::pause();
    for after in [0, 999, 1_001, 5_000, 600_000] {
        for (name, fault) in faults {
            let what = format!("{name} after {after} ms");
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            let tenure = campaign(&dsync).await;
            let (_listener, told) = listen(&dsync, Some(tenure.clone())).await;
            let mut deposed = dsync.events::<Deposed>(Filter::All);
            let term = soon(tenure.elected()).await;
            tokio::time::sleep(Duration::from_millis(after)).await;
            told.take();
            fault(&consul);
            let reason = soon(term.lost()).await;
            assert!(!term.is_valid() && tenure.token() != Some(term.token()), "{what}");
            let next = soon(tenure.elected()).await;
            tokio::time::sleep(SECOND * 20).await;
            assert!(next.is_valid(), "{what}");
            assert!(next.token() > term.token() || name.ends_with("empty"), "{what}");
            let deposed = taken(&mut deposed);
            assert_eq!(deposed.len(), 1, "{what}: {deposed:?}");
            assert_eq!((deposed[0].token, deposed[0].reason), (term.token(), reason), "{what}");
            let told = told.take();
            let terms = |event: &&str| !event.ends_with("Leader") && !event.starts_with("Leader");
            let told: Vec<_> = told.into_iter().filter(terms).collect();
            assert_eq!(told, ["LockLost", "Deposed", "LockAcquired", "Elected"], "{what}");
            dsync.shutdown(SECOND * 5).await.unwrap();
        }
    }
}

#[actix::test]
async fn a_resignation_is_fully_reported_although_nobody_follows_the_key_any_more() {
    in_a_task(async {
        for asked_for in [true, false] {
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            let (_listener, told) = listen(&dsync, None).await;
            let job = if asked_for {
                drop(campaign(&dsync).await);
                None
            } else {
                Some(actix_rt::spawn(dsync.while_leading(key("k"), |_| std::future::pending())))
            };
            tokio::time::sleep(SECOND * 2).await;
            assert_eq!(told.take(), ["LockAcquired", "Elected", "LeaderChanged"]);
            match job {
                Some(job) => job.abort(),
                None => dsync.hand_over(SECOND * 5).await.unwrap(),
            }
            tokio::time::sleep(SECOND * 2).await;
            assert_eq!(told.take(), ["Deposed", "LockReleased", "NoLeader"], "{asked_for}");
            // Following also ends: no leader is reported any more.
            let lease = acquire(&dsync, "k").await;
            drop(lease);
            tokio::time::sleep(SECOND * 2).await;
            assert_eq!(told.take(), ["LockAcquired", "LockReleased"]);
            dsync.shutdown(SECOND * 5).await.unwrap();
        }
    })
    .await;
}

#[actix::test]
async fn a_resignation_after_an_unnoticed_deadline_is_reported_as_a_loss() {
    in_a_task(async {
        for cool_down in [None, Some(SECOND * 30)] {
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            let (_listener, told) = listen(&dsync, None).await;
            let mut lost = dsync.events::<LockLost>(Filter::All);
            let mut deposed = dsync.events::<Deposed>(Filter::All);
            let tenure = campaign(&dsync).await;
            let term = soon(tenure.elected()).await;
            tokio::time::sleep(SECOND * 2).await;
            told.take();
            // The process is stopped for a minute. Its first request afterwards is a resignation.
            assert!(tokio::time::advance(SECOND * 60).now_or_never().is_none());
            let resign = Resign::of(&tenure);
            let resigned = dsync.send(match cool_down {
                Some(pause) => resign.cool_down(pause),
                None => resign,
            });
            assert_eq!(soon(resigned).await, Ok(None), "it did not lead any more");
            let reason = LossReason::DeadlinePassed;
            assert_eq!(soon(term.lost()).await, reason);
            tokio::time::sleep(SECOND * 10).await;
            assert_eq!(told.take(), ["LockLost", "Deposed", "NoLeader"], "{cool_down:?}");
            let (lost, deposed) = (taken(&mut lost), taken(&mut deposed));
            assert_eq!((lost[0].token, lost[0].reason), (term.token(), reason));
            assert_eq!((deposed[0].token, deposed[0].reason), (term.token(), reason));
            assert_eq!(holder(&consul), None);
            dsync.shutdown(SECOND * 5).await.unwrap();
        }
    })
    .await;
}

#[actix::test]
async fn a_resignation_while_a_loss_is_examined_is_reported_as_a_loss() {
    in_a_task(async {
        let mut found = 0;
        for number in 0..=24 {
            let what = format!("after {number} steps");
            let consul = Embedded::new();
            let dsync = runtime("one", &consul);
            let tenure = campaign(&dsync).await;
            let term = soon(tenure.elected()).await;
            tokio::time::sleep(SECOND * 5).await;
            let (_listener, told) = listen(&dsync, None).await;
            tokio::time::sleep(SECOND).await;
            told.take();
            assert!(consul.force_release("k"));
            steps(number).await;
            let (lasted, leads) = (term.is_valid(), tenure.is_leader());
            drop(dsync.send(Resign::of(&tenure)));
            tokio::time::sleep(SECOND * 10).await;
            let told = told.take();
            let terms = |event: &&str| !event.ends_with("Leader") && !event.starts_with("Leader");
            let told: Vec<_> = told.into_iter().filter(terms).collect();
            let expected: &[&str] = match (lasted, leads) {
                // The resignation came first; a late one would return `AlreadyLost`.
                (true, _) => &["Deposed", "LockReleased"],
                (false, false) => &["LockLost", "Deposed"],
                (false, true) => {
                    &["LockLost", "Deposed", "LockAcquired", "Elected", "Deposed", "LockReleased"]
                }
            };
            assert_eq!(told, expected, "{what}");
            found += usize::from(!lasted && !leads);
            dsync.shutdown(SECOND * 5).await.unwrap();
        }
        assert!(found > 0, "it was never resigned in between");
    })
    .await;
}

#[actix::test]
async fn a_process_stops_leading_when_it_calls_resign_and_another_replica_wins() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let ours = campaign(&one).await;
    let term = soon(ours.elected()).await;
    let theirs = campaign(&two).await;
    tokio::time::sleep(SECOND * 2).await;
    let leader = theirs.leader().expect("a follower knows the leader");
    assert_eq!(
        (leader.session_name.as_deref(), Some(leader.session)),
        (Some("one"), holder(&consul))
    );

    let work = term.run(std::future::pending::<()>());
    let resigned = one.send(Resign::of(&ours));
    assert!(!ours.is_leader() && !term.is_valid());
    assert_eq!(soon(work).await.unwrap_err().reason, LossReason::Resigned);
    assert_eq!(soon(resigned).await, Ok(Some(Released::Confirmed)));
    soon(ours.ended()).await;
    let theirs = soon(theirs.elected()).await;
    assert!(theirs.token() > term.token());

    // An ended campaign takes no part in later elections.
    assert_eq!(one.send(Resign::of(&ours)).await, Ok(None));
    let again = campaign(&one).await;
    assert_eq!(one.send(Resign::of(&ours)).await, Ok(None));
    two.shutdown(SECOND * 5).await.unwrap();
    soon(again.elected()).await;
    assert!(again.is_leader() && !ours.is_leader());
    assert_eq!((ours.term().is_none(), ours.token()), (true, None));
}

#[actix::test]
async fn with_a_cool_down_another_replica_wins_and_the_campaign_continues() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let ours = campaign(&one).await;
    soon(ours.elected()).await;
    let theirs = campaign(&two).await;
    for _ in 0..5 {
        tokio::time::sleep(SECOND).await;
        assert!(ours.is_leader());
        one.send(Resign::of(&ours).cool_down(SECOND * 3)).await.unwrap();
        soon(theirs.elected()).await;
        assert!(!ours.is_leader());
        // A second campaign in this process does not shorten the cool-down.
        campaign(&one).await;
        tokio::time::sleep(SECOND).await;
        two.send(Resign::of(&theirs).cool_down(SECOND * 5 / 2)).await.unwrap();
        let gave_up = tokio::time::Instant::now();
        soon(ours.elected()).await;
        assert!(gave_up.elapsed() >= Duration::from_millis(1_900), "{:?}", gave_up.elapsed());
    }
    two.shutdown(SECOND * 5).await.unwrap();
    // Without another candidate, nobody leads until the cool-down has ended.
    one.send(Resign::of(&ours).cool_down(SECOND * 10)).await.unwrap();
    tokio::time::sleep(SECOND * 9).await;
    assert_eq!((ours.leader(), holder(&consul)), (None, None));
    soon(ours.elected()).await;
}

#[actix::test]
async fn all_campaigns_of_one_process_for_a_key_are_one() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (_listener, told) = listen(&dsync, None).await;
    let tenures = [campaign(&dsync).await, campaign(&dsync).await, campaign(&dsync).await];
    let tokens = futures::future::join_all(tenures.iter().map(Tenure::elected)).await;
    assert!(tokens.windows(2).all(|pair| pair[0].token() == pair[1].token()));
    tokio::time::sleep(SECOND).await;
    assert_eq!(told.take(), ["LockAcquired", "Elected", "LeaderChanged"]);
    // The campaign continues without any of them.
    let [last, ..] = tenures;
    tokio::time::sleep(SECOND * 60).await;
    assert!(last.is_leader());
    let late = campaign(&dsync).await;
    drop(last);
    assert!(late.is_leader());
    dsync.send(Resign::of(&late)).await.unwrap();
    soon(late.ended()).await;
}

#[actix::test]
async fn a_tenure_that_is_dropped_does_not_resign() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    drop(dsync.send(Campaign::on(key("k"))));
    tokio::time::sleep(SECOND * 60).await;
    assert!(holder(&consul).is_some());
    assert!(campaign(&dsync).await.is_leader());
}

#[actix::test]
async fn a_resignation_after_any_number_of_steps_of_an_election_leaves_nothing() {
    in_a_task(async {
        for cool_down in [None, Some(SECOND * 30)] {
            for warm in [false, true] {
                for number in 0..=24 {
                    let what = format!("after {number} steps, warm: {warm}, {cool_down:?}");
                    let consul = Embedded::new();
                    let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
                    other.ready().await.unwrap();
                    let mut elected = dsync.events::<Elected>(Filter::All);
                    let mut deposed = dsync.events::<Deposed>(Filter::All);
                    if warm {
                        dsync.ready().await.unwrap();
                    }
                    let tenure = campaign(&dsync).await;
                    steps(number).await;
                    let resign = Resign::of(&tenure);
                    let resign = match cool_down {
                        Some(pause) => resign.cool_down(pause),
                        None => resign,
                    };
                    let led = tenure.is_leader();
                    let resigned = dsync.send(resign);
                    assert!(!tenure.is_leader(), "{what}");
                    assert_eq!(soon(resigned).await.unwrap().is_some(), led, "{what}");
                    tokio::time::sleep(SECOND * 6).await;
                    let free = other.send(TryAcquire::new(key("k"))).await;
                    drop(free.unwrap_or_else(|error| panic!("{what}: {error}")));
                    let (elected, deposed) = (taken(&mut elected), taken(&mut deposed));
                    assert_eq!(elected.len(), usize::from(led), "{what}: {elected:?}");
                    assert_eq!(deposed.len(), usize::from(led), "{what}: {deposed:?}");
                    dsync.shutdown(SECOND * 5).await.unwrap();
                    other.shutdown(SECOND * 5).await.unwrap();
                }
            }
        }
    })
    .await;
}

#[actix::test]
async fn a_fault_at_any_step_of_an_election_is_followed_by_a_lasting_election() {
    type Fault = fn(&Embedded);
    let faults: [(&str, Fault); 4] = [
        ("the session is destroyed", |consul| {
            consul.sessions().iter().for_each(|session| {
                consul.destroy_session(&session.id);
            });
        }),
        ("the key is deleted", |consul| {
            consul.delete_key("k");
        }),
        ("the key is released by force", |consul| {
            consul.force_release("k");
        }),
        ("the agent restarts empty", Embedded::restart_empty),
    ];
    in_a_task(async move {
        for (name, fault) in faults {
            for number in 0..=24 {
                let what = format!("{name} after {number} steps");
                let consul = Embedded::new();
                let dsync = runtime("one", &consul);
                let mut elected = dsync.events::<Elected>(Filter::All);
                let mut deposed = dsync.events::<Deposed>(Filter::All);
                let tenure = campaign(&dsync).await;
                steps(number).await;
                fault(&consul);
                // Longer than a lock-delay.
                tokio::time::sleep(SECOND * 40).await;
                let term = tenure.term().unwrap_or_else(|| panic!("{what}: nobody leads"));
                let (elected, deposed) = (taken(&mut elected), taken(&mut deposed));
                assert_eq!(elected.len(), deposed.len() + 1, "{what}: {elected:?} {deposed:?}");
                assert_eq!(elected.last().map(|event| event.token), Some(term.token()), "{what}");
                for (won, lost) in elected.iter().zip(&deposed) {
                    assert_eq!(won.token, lost.token, "{what}");
                }
                assert_eq!(tenure.leader().map(|leader| leader.session), holder(&consul), "{what}");
                dsync.shutdown(SECOND * 5).await.unwrap();
            }
        }
    })
    .await;
}

#[actix::test]
async fn shutdown_resigns_and_another_replica_leads_at_once() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let (ours, observer) = (campaign(&one).await, one.send(Observe(key("k"))).await.unwrap());
    let term = soon(ours.elected()).await;
    let theirs = campaign(&two).await;
    tokio::time::sleep(SECOND * 2).await;
    let (_listener, told) = listen(&one, Some(ours.clone())).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        told.take(),
        ["LockAcquired", "Elected", "LeaderChanged"],
        "the present comes first"
    );

    let began = tokio::time::Instant::now();
    one.shutdown(SECOND * 5).await.unwrap();
    assert!(began.elapsed() < SECOND, "handles that observe hold nothing up");
    soon(theirs.elected()).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(term.lost().await, LossReason::Shutdown);
    soon(ours.ended()).await;
    assert_eq!((ours.leader(), observer.leader()), (None, None));
    tokio::time::sleep(SECOND).await;
    assert_eq!(told.take(), ["LockLost", "Deposed"]);
    assert_eq!(one.send(Campaign::on(key("k"))).await.unwrap_err(), Error::Stopped);
    assert_eq!(one.send(Observe(key("k"))).await.unwrap_err(), Error::Stopped);
    assert_eq!(one.send(Resign::of(&ours)).await, Ok(None));
}

#[actix::test]
async fn a_late_observer_sees_each_leader_and_does_not_contend() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let mut changes = two.events::<LeaderChanged>(Filter::All);
    let early = two.send(Observe(key("k"))).await.unwrap();
    let tenure = campaign(&one).await;
    soon(tenure.elected()).await;
    tokio::time::sleep(SECOND * 2).await;

    let late = two.send(Observe(key("k"))).await.unwrap();
    for observer in [&early, &late, &early.clone()] {
        let seen = soon(observer.changed()).await;
        assert_eq!(seen.leader.map(|leader| leader.session), holder(&consul));
        assert_eq!(seen.token, None);
        assert!(observer.changed().now_or_never().is_none(), "nothing has changed since");
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(late.leader().unwrap().session_name.as_deref(), Some("one"));

    one.send(Resign::of(&tenure)).await.unwrap();
    let seen = soon(early.changed()).await;
    assert_eq!(seen.leader, None);
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(holder(&consul), None, "an observer does not contend");
    let again = acquire(&one, "k").await;
    let seen = soon(early.changed()).await;
    assert_eq!(seen.leader.map(|leader| leader.session), holder(&consul));
    let told: Vec<bool> =
        taken(&mut changes).into_iter().map(|event| event.leader.is_some()).collect();
    assert_eq!(told, [true, false, true], "one event for each leader, whatever is learnt of it");

    drop((early, late));
    tokio::time::sleep(SECOND).await;
    drop(again);
    tokio::time::sleep(SECOND * 40).await;
    assert_eq!(taken(&mut changes), [], "nobody follows it any more");
}

#[actix::test]
async fn callers_and_the_campaign_of_one_process_queue_behind_each_other() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = acquire(&dsync, "k").await;
    let tenure = campaign(&dsync).await;
    let mut waiting = dsync.send(Acquire::new(key("k")));
    tokio::time::sleep(SECOND * 5).await;
    assert!(!tenure.is_leader() && (&mut waiting).now_or_never().is_none());
    let own = holder(&consul);
    assert_eq!(tenure.leader().map(|leader| leader.session), own, "it is known who holds it");

    let first = lease.token();
    drop(lease);
    let term = soon(tenure.elected()).await;
    assert!(term.token() > first);
    tokio::time::sleep(SECOND * 5).await;
    assert!((&mut waiting).now_or_never().is_none());
    assert!(matches!(dsync.send(TryAcquire::new(key("k"))).await, Err(Error::Held { .. })));

    dsync.send(Resign::of(&tenure)).await.unwrap();
    let lease = soon(waiting).await.unwrap();
    assert!(lease.token() > term.token());
    assert_eq!((tenure.is_leader(), tenure.token()), (false, None));
}

#[actix::test]
async fn a_campaign_leaves_a_foreign_entry_alone_and_wins_when_it_is_deleted() {
    tokio::time::pause();
    let consul = Embedded::new();
    consul.write_key("k", "somebody's configuration");
    let dsync = runtime("one", &consul);
    let tenure = campaign(&dsync).await;
    tokio::time::sleep(SECOND * 100).await;
    assert!(!tenure.is_leader());
    assert_eq!(consul.entries()[0].value, b"somebody's configuration");
    consul.delete_key("k");
    soon(tenure.elected()).await;
}

#[actix::test]
async fn an_unusable_advertised_address_is_refused_at_the_start() {
    let consul = Embedded::new();
    let start = |address: &str, port| {
        let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
        builder.advertise(address, port).start()
    };
    for (address, port) in [
        ("0.0.0.0", 80),
        ("::", 80),
        ("http://one", 80),
        ("one:8080", 80),
        ("one ", 80),
        ("[::1]", 80),
        ("", 80),
        ("one", 0),
    ] {
        let refused = start(address, port).map(drop).unwrap_err();
        let ConfigError::OutOfRange { field: "advertise", value, range } = refused else {
            panic!("{refused}")
        };
        assert!(value.contains(address) && range.contains("without scheme"), "{value}: {range}");
    }
    for address in ["10.0.0.7", "::1", "one", "one.internal", "one.internal."] {
        start(address, 80).unwrap();
    }
}

#[actix::test]
async fn settings_that_are_fields_of_the_value_are_refused_if_they_cannot_be_added() {
    let consul = Embedded::new();
    let builder = || Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let text = || builder().value("orders-3");
    text().start().unwrap();
    builder().value(serde_json::json!({"team": "a"})).advertise("one", 80).start().unwrap();
    for refused in [
        text().advertise("one", 80),
        text().build("1"),
        builder().value(serde_json::json!([1])).advertise("one", 80).advertise_path("/orders"),
        builder().advertise_path("/orders"),
    ] {
        let error = refused.start().map(drop).unwrap_err();
        assert!(matches!(error, ConfigError::Conflict(_)), "{error}");
        assert!(error.to_string().contains("advertise"), "{error}");
    }
}

#[actix::test]
async fn an_unusable_advertised_path_is_refused_at_the_start() {
    let consul = Embedded::new();
    let start = |path: &str| {
        let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
        builder.advertise("one", 80).advertise_path(path).start()
    };
    let long = format!("/{}", "p".repeat(1024));
    for path in ["", "orders", "//host/orders", "/or ders", "/orders?a=1", "/or#ders", &long] {
        let refused = start(path).map(drop).unwrap_err();
        let ConfigError::OutOfRange { field: "advertise_path", .. } = refused else {
            panic!("{refused}")
        };
    }
    for path in ["/", "/orders", "/or%20ders/v1.0"] {
        start(path).unwrap();
    }
}

#[actix::test]
async fn a_leaders_default_value_names_its_service_its_host_and_its_build() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = Dsync::builder("or/ders")
        .embedded(&consul)
        .on_current_arbiter()
        .advertise("10.0.0.7", 8080)
        .advertise_path("/orders")
        .build("1.2.3")
        .value(serde_json::json!({"zone": "b"}))
        .start()
        .unwrap();
    let own = Campaign::default().value(serde_json::json!({"zone": "c", "rank": 1}));
    let tenure = dsync.send(own).await.unwrap();
    assert_eq!(*tenure.key(), Key::new("service/or=2Fders/leadership").unwrap());
    soon(tenure.elected()).await;
    let says = tenure.leader().unwrap().json().unwrap();
    let expected = serde_json::json!({
        "service": "or/ders", "address": "10.0.0.7", "port": 8080, "path": "/orders", "build": "1.2.3",
        "pid": std::process::id(), "zone": "c", "rank": 1,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(says[field], *value, "{says}");
    }
    assert!(says["host"].is_string() && says["started"].is_u64(), "{says}");
}
