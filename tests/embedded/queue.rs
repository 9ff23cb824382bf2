//! The queue of one process's callers.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix_dsync::{Acquire, Error, Release, TryAcquire, embedded::Embedded};

use crate::{acquire, key, runtime};

#[actix::test]
async fn callers_are_served_in_the_order_of_their_requests() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (served, held) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(0)));
    let callers: Vec<_> = (0..60)
        .map(|number| {
            // The call queues the request, whenever its reply is awaited.
            let asked = dsync.send(Acquire::new(key("k")));
            let (served, held, dsync) = (served.clone(), held.clone(), dsync.clone());
            actix_rt::spawn(async move {
                // The last request's reply is awaited first.
                tokio::time::sleep(Duration::from_millis(60 - number)).await;
                let lease = asked.await.unwrap();
                assert_eq!(held.replace_with(|held| *held + 1), 0, "two at one time");
                served.borrow_mut().push((number, lease.token()));
                tokio::time::sleep(Duration::from_millis(number % 7)).await;
                assert!(lease.is_valid());
                *held.borrow_mut() -= 1;
                if number % 2 == 0 {
                    drop(lease);
                } else {
                    let _ = dsync.send(Release(lease)).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let served = served.borrow();
    assert!(served.windows(2).all(|pair| pair[0].0 < pair[1].0), "{served:?}");
    assert!(served.windows(2).all(|pair| pair[0].1 < pair[1].1), "{served:?}");
}

#[actix::test]
async fn the_former_lease_has_ended_before_the_next_is_granted() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let mut lease = acquire(&dsync, "k").await;
    for _ in 0..20 {
        let waiting = dsync.send(Acquire::new(key("k")));
        let lost = lease.lost();
        let token = lease.token();
        drop(lease);
        lease = waiting.await.unwrap();
        assert!(lease.token() > token);
        // Released, not lost.
        assert!(futures::FutureExt::now_or_never(lost).is_none());
    }
}

#[actix::test]
async fn another_process_gets_its_turn_however_many_callers_queue_in_this_one() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (busy, other) = (runtime("busy", &consul), runtime("other", &consul));
    other.ready().await.unwrap();
    let first = acquire(&busy, "k").await;
    for _ in 0..500 {
        let asked = busy.send(Acquire::new(key("k")));
        actix_rt::spawn(async move {
            let lease = asked.await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(lease);
        });
    }
    let asked = tokio::time::Instant::now();
    let waiting = other.send(Acquire::new(key("k")));
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(first);
    let lease = waiting.await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert!(lease.is_valid());
}

#[actix::test]
async fn a_try_is_refused_while_a_caller_of_this_process_has_the_key() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = acquire(&dsync, "k").await;
    let waiting = dsync.send(Acquire::new(key("k")));
    match dsync.send(TryAcquire::new(key("k"))).await.unwrap_err() {
        Error::Held { holder, .. } => {
            assert_eq!(holder.session_name.as_deref(), Some("one"));
            assert_eq!(holder.index, lease.token().as_u64() >> 16);
        }
        other => panic!("{other}"),
    }
    drop(lease);
    // Not before the earlier waiters.
    assert!(waiting.await.unwrap().is_valid());
}
