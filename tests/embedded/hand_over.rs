//! The orderly end of leadership: what it waits for and what it does not.

use std::{future::pending, pin::pin, time::Duration};

use actix::prelude::*;
use actix_dsync::{
    Campaign, Dsync, Error, Resign, Tenure,
    embedded::Embedded,
    jobs::{Singleton, SingletonHandle},
};
use futures::future::{join, select};

use crate::{key, runtime};

const SECOND: Duration = Duration::from_secs(1);

struct Quiet;

impl Actor for Quiet {
    type Context = Context<Self>;
}

/// Panics instead of waiting for ever.
async fn ended(tenure: &Tenure) {
    tokio::time::timeout(SECOND, tenure.ended()).await.expect("it was resigned");
}

async fn seconds(count: u32) {
    tokio::time::sleep(SECOND * count).await;
}

/// Whether the key is held, according to the store.
fn is_held(consul: &Embedded, name: &str) -> bool {
    consul.entries().iter().any(|entry| entry.key == name && entry.session.is_some())
}

async fn lead(dsync: &Dsync, name: &str) -> Tenure {
    let tenure = dsync.send(Campaign::on(key(name))).await.unwrap();
    tenure.elected().await;
    tenure
}

async fn start(dsync: &Dsync, name: &str) -> SingletonHandle<Quiet> {
    let handle = Singleton::new(|_| Quiet).on(key(name)).start(dsync).unwrap();
    handle.tenure().elected().await;
    seconds(1).await;
    assert!(handle.address().is_some());
    handle
}

/// The text of a failed hand-over, which names one key.
fn refused(outcome: Result<(), Error>) -> String {
    match outcome {
        Err(error @ Error::Unavailable { key: Some(_), .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Whether `name` is still held when `end` completes; Consul returns after a second.
async fn held_after(end: impl Future<Output = ()>, consul: &Embedded, name: &str) -> bool {
    let ended = async {
        end.await;
        is_held(consul, name)
    };
    let mended = async {
        seconds(1).await;
        consul.mend();
    };
    join(ended, mended).await.0
}

#[actix::test]
async fn a_second_hand_over_waits_for_the_releases_of_the_first() {
    tokio::time::pause();
    let consul = Embedded::new();
    let one = runtime("one", &consul);
    let own = lead(&one, "own").await;
    let _singleton = start(&one, "job").await;
    consul.cut();
    let late = refused(one.hand_over(SECOND * 3).await);
    assert!(late.contains("Consul has not confirmed the release"), "{late}");
    ended(&own).await;
    assert!(is_held(&consul, "own") && is_held(&consul, "job"));
    let again = async { one.hand_over(SECOND * 8).await.unwrap() };
    assert!(!held_after(again, &consul, "own").await);
    assert!(!is_held(&consul, "job"));
}

#[actix::test]
async fn every_way_to_end_leadership_waits_for_a_resignation_in_flight() {
    tokio::time::pause();
    for cool_down in [None, Some(SECOND * 60)] {
        let resign = |tenure: &Tenure| match cool_down {
            None => Resign::of(tenure),
            Some(pause) => Resign::of(tenure).cool_down(pause),
        };
        let consul = Embedded::new();
        let one = runtime("one", &consul);
        let (own, singleton) = (lead(&one, "own").await, start(&one, "job").await);
        consul.cut();
        drop(one.send(resign(singleton.tenure())));
        assert!(!held_after(singleton.stop(), &consul, "job").await, "{cool_down:?}");

        consul.cut();
        drop(one.send(resign(&own)));
        let resigned = async { one.send(Resign::of(&own)).await.map(drop).unwrap() };
        assert!(!held_after(resigned, &consul, "own").await, "{cool_down:?}");

        let other = lead(&one, "other").await;
        consul.cut();
        drop(one.send(resign(&other)));
        let handed_over = async { one.hand_over(SECOND * 8).await.unwrap() };
        assert!(!held_after(handed_over, &consul, "other").await, "{cool_down:?}");
    }
}

#[actix::test]
async fn a_key_whose_release_is_late_does_not_keep_other_keys_from_being_resigned() {
    tokio::time::pause();
    let consul = Embedded::new();
    let one = runtime("one", &consul);
    let (own, _singleton) = (lead(&one, "own").await, start(&one, "job").await);
    consul.cut();
    let late = refused(one.hand_over(SECOND * 5).await);
    // The work of the other key has stopped, and is not confirmed, either.
    assert!(late.contains("within 5s") && late.ends_with("(and 1 more)"), "{late}");
    ended(&own).await;
    seconds(1).await;
    consul.mend();
    seconds(5).await;
    assert!(!is_held(&consul, "own") && !is_held(&consul, "job"));
}

#[actix::test]
async fn a_job_that_nobody_polls_keeps_only_its_own_key() {
    tokio::time::pause();
    let consul = Embedded::new();
    let one = runtime("one", &consul);
    let (own, _singleton) = (lead(&one, "own").await, start(&one, "other").await);
    let mut job = pin!(one.while_leading(key("job"), |_| pending()));
    drop(select(&mut job, pin!(seconds(2))).await);
    assert!(is_held(&consul, "job"));

    let late = refused(one.hand_over(SECOND * 5).await);
    assert!(
        late.contains("release the key job: ") && late.ends_with("its work has not stopped"),
        "{late}"
    );
    ended(&own).await;
    assert!(!is_held(&consul, "own") && !is_held(&consul, "other"));
    seconds(60).await;
    assert!(is_held(&consul, "job"), "its work may go on at any time");

    // It is named before any key whose release is late.
    let late = lead(&one, "a").await;
    consul.cut();
    let refusal = refused(one.hand_over(SECOND).await);
    assert!(refusal.contains("the key job: "), "{refusal}");
    assert!(refusal.ends_with("its work has not stopped (and 1 more)"), "{refusal}");
    ended(&late).await;
    consul.mend();
    seconds(5).await;

    let (ended, handed_over) = join(job, one.hand_over(SECOND * 5)).await;
    assert_eq!((ended, handed_over), (Ok(()), Ok(())));
    assert!(!is_held(&consul, "job"));
}

#[actix::test]
async fn a_hand_over_whose_release_is_never_confirmed_does_not_succeed() {
    tokio::time::pause();
    for shuts_down in [false, true] {
        let consul = Embedded::new();
        let one = runtime("one", &consul);
        let _own = lead(&one, "own").await;
        consul.cut();
        let late = one.hand_over(SECOND * 60);
        let shut_down = async {
            if shuts_down {
                one.shutdown(SECOND).await.unwrap_err();
            }
        };
        // The lease, or the runtime, ends first.
        let late = refused(join(late, shut_down).await.0);
        assert!(late.contains("the key own: "), "{shuts_down}: {late}");
        assert!(late.contains("has not confirmed the release"), "{shuts_down}: {late}");
        assert!(is_held(&consul, "own"));
        if shuts_down {
            assert_eq!(one.hand_over(SECOND).await, Err(Error::Stopped));
        }
    }
}

#[actix::test]
async fn a_hand_over_after_a_shutdown_waits_for_work_that_has_not_stopped() {
    tokio::time::pause();
    let one = runtime("one", &Embedded::new());
    let mut job = pin!(one.while_leading(key("job"), |_| pending()));
    drop(select(&mut job, pin!(seconds(2))).await);
    one.shutdown(SECOND * 5).await.unwrap();
    let late = refused(one.hand_over(SECOND).await);
    assert!(
        late.contains("release the key job: ") && late.ends_with("its work has not stopped"),
        "{late}"
    );
    assert_eq!(join(job, one.hand_over(SECOND)).await, (Ok(()), Ok(())));
}
