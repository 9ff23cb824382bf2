//! Requests through `Dsync::recipient`, and callers that go away.

use std::time::Duration;

use actix::prelude::*;
use actix_dsync::{
    Acquire, AcquireAll, AcquirePermit, Campaign, Dsync, Error, Explain, Inspect, List, Observe,
    Release, Released, Request, Resign, TryAcquire, TryAcquirePermit,
    admin::Holders,
    embedded::Embedded,
    events::{LockAcquired, Subscribe, Unsubscribe},
    fencing::ReadEntry,
};

use crate::{
    acquire,
    cancel::{PHASES, Phase, STEPS, leaves_nothing},
    in_a_task, key, runtime, steps,
};

async fn waiters(dsync: &Dsync) -> usize {
    dsync.send(Explain(key("k"))).await.unwrap().waiters
}

#[actix::test]
async fn a_request_to_the_recipient_that_is_dropped_leaves_no_waiter() {
    in_a_task(async {
        let consul = Embedded::new();
        let (one, two) = (runtime("one", &consul), runtime("two", &consul));
        let held = acquire(&two, "k").await;
        let recipient = one.recipient::<Acquire>();
        for _ in 0..3 {
            let asked = recipient.send(Acquire::new(key("k")));
            assert!(tokio::time::timeout(Duration::from_secs(1), asked).await.is_err());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(waiters(&one).await, 0);
        assert_eq!(two.send(Release(held)).await, Ok(Released::Confirmed));
        drop(acquire(&two, "k").await);
    })
    .await;
}

#[actix::test]
async fn a_request_to_the_recipient_that_is_dropped_after_any_number_of_steps_leaves_nothing() {
    in_a_task(async {
        for phase in PHASES {
            let mut granted = 0;
            for count in 0..=STEPS {
                leaves_nothing(phase, count, async |caller| {
                    let recipient = caller.recipient::<Acquire>();
                    let mut asked = Box::pin(recipient.send(Acquire::new(key("k"))));
                    steps(count).await;
                    granted += usize::from(futures::poll!(&mut asked).is_ready());
                    drop(asked);
                })
                .await;
                asked_and_dropped(phase, count, TryAcquire::new(key("k"))).await;
                asked_and_dropped(phase, count, Observe(key("k"))).await;
                asked_and_dropped(phase, count, Inspect(key("k"))).await;
                asked_and_dropped(phase, count, Holders::below("")).await;
                asked_and_dropped(phase, count, ReadEntry(key("k"))).await;
            }
            let held = matches!(phase, Phase::Held | Phase::Delayed);
            assert!(held == (granted == 0) && granted < STEPS, "{phase:?}: {granted} granted");
        }
    })
    .await;
}

#[actix::test]
async fn a_set_or_a_permit_through_the_recipient_that_is_dropped_leaves_nothing() {
    in_a_task(async {
        for phase in PHASES {
            for count in 0..=STEPS {
                asked_and_dropped(phase, count, AcquireAll::new([key("k"), key("l")])).await;
                asked_and_dropped(phase, count, AcquirePermit::new(key("s"), 2)).await;
                asked_and_dropped(phase, count, TryAcquirePermit::new(key("s"), 2)).await;
            }
        }
    })
    .await;
}

/// Asks the recipient, and drops the request after this number of steps.
async fn asked_and_dropped<M: Request>(phase: Phase, count: usize, request: M) {
    leaves_nothing(phase, count, async |caller| {
        let asked = caller.recipient().send(request);
        steps(count).await;
        drop(asked);
    })
    .await;
}

#[actix::test]
async fn a_release_through_the_recipient_that_is_dropped_after_any_number_of_steps_leaves_nothing()
{
    in_a_task(async {
        for count in 0..=STEPS {
            leaves_nothing(Phase::Free, count, async |caller| {
                let released = caller.recipient().send(Release(acquire(caller, "k").await));
                steps(count).await;
                drop(released);
            })
            .await;
            leaves_nothing(Phase::Free, count, async |caller| {
                caller.recipient().do_send(Release(acquire(caller, "k").await));
                steps(count).await;
            })
            .await;
        }
    })
    .await;
}

#[actix::test]
async fn a_campaign_through_the_recipient_ends_however_it_is_resigned() {
    in_a_task(async {
        for count in 0..=STEPS {
            for told in [false, true] {
                leaves_nothing(Phase::Free, count, async |caller| {
                    let campaign = Campaign::on(key("k"));
                    let tenure = caller.recipient().send(campaign).await.unwrap().unwrap();
                    steps(count).await;
                    if told {
                        caller.recipient().do_send(Resign::of(&tenure));
                    } else {
                        let resigned = caller.recipient().send(Resign::of(&tenure));
                        // Once the runtime has received it, nobody needs to wait.
                        steps(4).await;
                        drop(resigned);
                    }
                    tenure.ended().await;
                })
                .await;
            }
        }
    })
    .await;
}

#[actix::test]
async fn a_request_whose_reply_nobody_can_receive_is_ignored() {
    in_a_task(async {
        let consul = Embedded::new();
        let dsync = runtime("one", &consul);
        dsync.ready().await.unwrap();
        for _ in 0..3 {
            dsync.recipient().do_send(Acquire::new(key("k")));
            dsync.recipient().do_send(TryAcquire::new(key("k")));
            dsync.recipient().do_send(Inspect(key("k")));
            dsync.recipient().do_send(Observe(key("k")));
            dsync.recipient().do_send(Explain(key("k")));
            dsync.recipient().do_send(List);
            dsync.recipient().try_send(Acquire::new(key("k"))).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(consul.entries(), []);
        assert_eq!(dsync.send(List).await.unwrap().keys, []);
    })
    .await;
}

struct Counter(usize);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<LockAcquired> for Counter {
    type Result = ();

    fn handle(&mut self, _: LockAcquired, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Count;

impl Handler<Count> for Counter {
    type Result = usize;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> usize {
        self.0
    }
}

#[actix::test]
async fn a_request_with_an_effect_is_carried_out_although_nobody_waits_for_its_reply() {
    in_a_task(async {
        let consul = Embedded::new();
        let dsync = runtime("one", &consul);
        let counter = Counter(0).start();
        let to = counter.clone().recipient::<LockAcquired>();
        dsync.recipient().do_send(Subscribe::to(to.clone()).key(key("k")));
        let id = dsync.recipient().send(Subscribe::to(to).key(key("j"))).await.unwrap().unwrap();
        dsync.recipient().do_send(Unsubscribe(id));
        dsync.recipient().do_send(Campaign::on(key("k")));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let _other = acquire(&dsync, "j").await;
        assert!(consul.entries().iter().any(|entry| entry.key == "k" && entry.session.is_some()));
        assert_eq!(counter.send(Count).await.unwrap(), 1);
    })
    .await;
}

#[actix::test]
async fn a_recipient_keeps_the_runtime_and_ends_with_it() {
    in_a_task(async {
        let consul = Embedded::new();
        let dsync = runtime("one", &consul);
        let recipient = dsync.recipient::<Acquire>();
        let other = dsync.clone();
        drop(dsync);
        drop(other);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let lease = recipient.send(Acquire::new(key("k"))).await.unwrap().unwrap();
        drop(recipient);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(lease.is_valid());
        drop(lease);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((consul.entries(), consul.sessions()), (vec![], vec![]));

        let dsync = runtime("two", &consul);
        let recipient = dsync.recipient::<Acquire>();
        dsync.shutdown(Duration::from_secs(5)).await.unwrap();
        let refused = recipient.send(Acquire::new(key("k"))).await.unwrap();
        assert_eq!(refused.unwrap_err(), Error::Stopped);
    })
    .await;
}
