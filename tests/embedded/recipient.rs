//! Requests through `Dsync::recipient`, and callers that go away.

use std::time::Duration;

use actix::prelude::*;
use actix_dsync::{
    Acquire, AcquireAll, AcquirePermit, Campaign, Dsync, Error, Explain, Inspect, List, LossReason,
    Observe, Release, ReleaseAll, Released, Request, Resign, TryAcquire, TryAcquirePermit,
    UpdateValue,
    admin::{ForceRelease, Holders, StepDown},
    embedded::Embedded,
    events::{LockAcquired, Subscribe, Unsubscribe},
    fencing::{ReadEntry, Write},
};
use futures::FutureExt as _;

use crate::{
    acquire,
    cancel::{PHASES, Phase, STEPS, is_clean, leaves_nothing},
    in_a_task, key, runtime, steps,
};

const SECOND: Duration = Duration::from_secs(1);

/// How a caller asks that goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Handle,
    Recipient,
    /// By `do_send`: there is no reply.
    Told,
}

const WAYS: [Way; 3] = [Way::Handle, Way::Recipient, Way::Told];

impl Way {
    /// Asks, and goes away after this number of steps. Returns whether the reply had come.
    async fn ask_and_go<M: Request>(self, caller: &Dsync, count: usize, request: M) -> bool {
        match self {
            Self::Handle => go_after(count, caller.send(request)).await,
            Self::Recipient => go_after(count, caller.recipient().send(request)).await,
            Self::Told => {
                caller.recipient().do_send(request);
                steps(count).await;
                false
            }
        }
    }

    /// Asserts that an effect is carried out although its caller went away after this number of
    /// steps. Dropping the reply before the runtime has read a recipient's mailbox withdraws it.
    fn assert_carried_out(self, count: usize, is_carried_out: bool, what: &str) {
        match (self, count) {
            (Self::Recipient, 0) => assert!(!is_carried_out, "{what}: it was withdrawn"),
            (Self::Recipient, 1..4) => {}
            _ => assert!(is_carried_out, "{what}: it was not carried out"),
        }
    }

    /// Asserts that of the callers that went away after up to [`STEPS`] steps, some had their
    /// reply and others had not.
    fn assert_both_happened(self, answered: usize) {
        let expected = if self == Self::Told { 0..1 } else { 1..STEPS };
        assert!(expected.contains(&answered), "{self:?}: {answered} were answered");
    }
}

/// Polls a reply, drops it after this number of steps, and returns whether it had come.
async fn go_after(count: usize, reply: impl Future) -> bool {
    let mut reply = Box::pin(reply);
    // A read through the handle begins now.
    let at_once = (&mut reply).now_or_never().is_some();
    steps(count).await;
    at_once || (&mut reply).now_or_never().is_some()
}

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
            }
            let held = matches!(phase, Phase::Held | Phase::Delayed);
            assert!(held == (granted == 0) && granted < STEPS, "{phase:?}: {granted} granted");
        }
    })
    .await;
}

#[actix::test]
async fn a_question_that_is_dropped_after_any_number_of_steps_leaves_nothing() {
    in_a_task(async {
        for phase in PHASES {
            for count in 0..=STEPS {
                for way in [Way::Handle, Way::Recipient] {
                    leaves_nothing(phase, count, async |caller| {
                        way.ask_and_go(caller, count, Observe(key("k"))).await;
                    })
                    .await;
                    leaves_nothing(phase, count, async |caller| {
                        futures::join!(
                            way.ask_and_go(caller, count, Inspect(key("k"))),
                            way.ask_and_go(caller, count, Explain(key("k"))),
                            way.ask_and_go(caller, count, List),
                            way.ask_and_go(caller, count, Holders::below("")),
                            way.ask_and_go(caller, count, ReadEntry(key("k"))),
                        );
                    })
                    .await;
                }
            }
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
async fn a_release_of_a_set_whose_reply_is_dropped_after_any_number_of_steps_leaves_nothing() {
    in_a_task(async {
        for way in WAYS {
            let mut answered = 0;
            for count in 0..=STEPS {
                leaves_nothing(Phase::Free, count, async |caller| {
                    let set = caller.send(AcquireAll::new([key("k"), key("l")])).await.unwrap();
                    let is_answered = way.ask_and_go(caller, count, ReleaseAll(set)).await;
                    answered += usize::from(is_answered);
                })
                .await;
            }
            way.assert_both_happened(answered);
        }
    })
    .await;
}

#[actix::test]
async fn a_write_whose_reply_is_dropped_after_any_number_of_steps_is_carried_out() {
    in_a_task(async {
        for way in WAYS {
            let mut answered = [0, 0];
            for count in 0..=STEPS {
                let what = format!("{way:?} after {count}");
                leaves_nothing(Phase::Free, count, async |caller| {
                    let lease = acquire(caller, "k").await;
                    let write = Write::under(&lease).put(key("d"), "1");
                    answered[0] += usize::from(way.ask_and_go(caller, count, write).await);
                    tokio::time::sleep(SECOND).await;
                    let stored = caller.send(ReadEntry(key("d"))).await.unwrap();
                    way.assert_carried_out(count, stored.is_some(), &what);
                    let by = stored.map_or(Some(lease.token()), |stored| stored.token);
                    assert_eq!(by, Some(lease.token()), "{what}");

                    let update = UpdateValue::of(&lease, "new");
                    answered[1] += usize::from(way.ask_and_go(caller, count, update).await);
                    tokio::time::sleep(SECOND).await;
                    let holder = caller.send(Inspect(key("k"))).await.unwrap().expect("it is held");
                    way.assert_carried_out(count, *holder.value == *b"new", &what);

                    assert!(lease.is_valid(), "{what}");
                    caller.send(Write::under(&lease).delete(key("d"))).await.unwrap();
                    assert_eq!(
                        caller.send(Release(lease)).await,
                        Ok(Released::Confirmed),
                        "{what}"
                    );
                })
                .await;
            }
            answered.into_iter().for_each(|answered| way.assert_both_happened(answered));
        }
    })
    .await;
}

#[actix::test]
async fn a_write_that_is_dropped_with_its_lease_after_any_number_of_steps_leaves_nothing() {
    in_a_task(async {
        for way in WAYS {
            for count in 0..=STEPS {
                leaves_nothing(Phase::Free, count, async |caller| {
                    let lease = acquire(caller, "k").await;
                    // If it is carried out, it is as a whole, and the entry does not stay.
                    let write = Write::under(&lease).put(key("d"), "1").delete(key("d"));
                    way.ask_and_go(caller, count, write).await;
                    drop(lease);
                })
                .await;
                leaves_nothing(Phase::Free, count, async |caller| {
                    let lease = acquire(caller, "k").await;
                    way.ask_and_go(caller, count, UpdateValue::of(&lease, "new")).await;
                    drop(lease);
                })
                .await;
            }
        }
    })
    .await;
}

/// Panics instead of waiting for ever.
async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let event = tokio::time::timeout(60 * SECOND, event).await;
    event.unwrap_or_else(|_| panic!("{what}: it does not come"))
}

#[actix::test]
async fn a_forced_release_whose_reply_is_dropped_after_any_number_of_steps_frees_the_key() {
    in_a_task(async {
        for (way, is_immediate) in WAYS.into_iter().flat_map(|way| [(way, false), (way, true)]) {
            let mut answered = 0;
            for count in 0..=STEPS {
                let what = format!("{way:?} after {count}, immediate: {is_immediate}");
                let consul = Embedded::new().seed(count as u64);
                let [holder, other, admin] =
                    ["holder", "other", "admin"].map(|name| runtime(name, &consul));
                other.ready().await.unwrap();
                let lease = acquire(&holder, "k").await;
                let victim = admin.send(Inspect(key("k"))).await.unwrap().expect("it is held");
                let asked = ForceRelease::of(key("k"), &victim);
                let asked = if is_immediate { asked.immediate() } else { asked };
                answered += usize::from(way.ask_and_go(&admin, count, asked).await);
                // Now only the request keeps this runtime.
                drop(admin);
                let lost = tokio::time::timeout(5 * SECOND, lease.lost()).await;
                way.assert_carried_out(count, lost == Ok(LossReason::ForceReleased), &what);
                drop(lease);
                // It keeps the key as long as the lease may last, and the runtime as long.
                tokio::time::sleep(2 * SECOND).await;
                let is_running =
                    consul.sessions().iter().any(|session| session.name.starts_with("admin#"));
                assert_eq!(is_running, lost.is_ok() && !is_immediate, "{what}");
                tokio::time::sleep(20 * SECOND).await;
                is_clean(&consul, &other, &what).await;
                assert_eq!(consul.sessions().len(), 2, "{what}: of the holder and of the other");
                for dsync in [holder, other] {
                    dsync.shutdown(5 * SECOND).await.unwrap();
                }
            }
            if is_immediate {
                way.assert_both_happened(answered);
            } else {
                assert_eq!(answered, 0, "the key is kept for a while");
            }
        }
    })
    .await;
}

#[actix::test]
async fn a_leader_steps_down_although_the_reply_is_dropped_after_any_number_of_steps() {
    in_a_task(async {
        for way in WAYS {
            for count in 0..=STEPS {
                let what = format!("{way:?} after {count}");
                let consul = Embedded::new().seed(count as u64);
                let [leader, other, admin] =
                    ["leader", "other", "admin"].map(|name| runtime(name, &consul));
                other.ready().await.unwrap();
                let tenure = leader.send(Campaign::on(key("k"))).await.unwrap();
                let term = soon(&what, tenure.elected()).await;
                let victim = admin.send(Inspect(key("k"))).await.unwrap().expect("it is held");
                way.ask_and_go(&admin, count, StepDown::of(key("k"), &victim)).await;
                // Now only the request keeps this runtime.
                drop(admin);
                let lost = tokio::time::timeout(5 * SECOND, term.lost()).await;
                way.assert_carried_out(count, lost == Ok(LossReason::ForceReleased), &what);
                // The campaign goes on when the key is free.
                let again = soon(&what, tenure.elected()).await;
                assert_eq!(again.token() > term.token(), lost.is_ok(), "{what}");
                let resigned = leader.send(Resign::of(&tenure)).await;
                assert_eq!(resigned, Ok(Some(Released::Confirmed)), "{what}");
                is_clean(&consul, &other, &what).await;
                assert_eq!(consul.sessions().len(), 2, "{what}: of the leader and of the other");
                for dsync in [leader, other] {
                    dsync.shutdown(5 * SECOND).await.unwrap();
                }
            }
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
            dsync.recipient().do_send(AcquireAll::new([key("k"), key("l")]));
            dsync.recipient().do_send(AcquirePermit::new(key("s"), 2));
            dsync.recipient().do_send(TryAcquire::new(key("k")));
            dsync.recipient().do_send(TryAcquirePermit::new(key("s"), 2));
            dsync.recipient().do_send(Inspect(key("k")));
            dsync.recipient().do_send(Observe(key("k")));
            dsync.recipient().do_send(Explain(key("k")));
            dsync.recipient().do_send(List);
            dsync.recipient().do_send(Holders::below(""));
            dsync.recipient().do_send(ReadEntry(key("k")));
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
