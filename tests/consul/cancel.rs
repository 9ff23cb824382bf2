//! Callers that go away at any moment: nothing stays locked, and nothing keeps contending.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use actix_dsync::{Acquire, Dsync, Inspect, Release, TryAcquire};

use crate::locks::{acquire, agent, at, key, runtime};
use crate::support::eventually;
use crate::support::proxy::{Mode, Proxy};

/// The time limit for undoing what a caller left behind.
const UNDONE: Duration = Duration::from_secs(5);

/// Polls `work` at most `polls` times, then drops it.
async fn poll_and_drop(work: impl Future, polls: usize) {
    let mut work = pin!(work);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        match work.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending if left == 0 => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// The keys under the prefix; a session's fence entry stays as long as the session.
fn locks_of(prefix: &str) -> Vec<String> {
    let fences = format!("{prefix}/.dsync/");
    let keys = agent().operator().kv_keys(&format!("{prefix}/"));
    keys.into_iter().filter(|key| !key.starts_with(&fences)).collect()
}

fn no_key_is_left(prefix: &str) {
    let gone = || locks_of(prefix).is_empty().then_some(());
    assert!(eventually(UNDONE, gone).is_some(), "left locked or behind: {:?}", locks_of(prefix));
}

/// Ends the runtime and asserts that nothing is left.
async fn end(dsync: Dsync, prefix: &str) {
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    let left = agent().operator().kv_keys(&format!("{prefix}/"));
    assert_eq!(left, Vec::<String>::new());
}

/// Asserts that no request names a key with that prefix any more, except for the search for stale
/// fence entries, which a runtime begins at any moment of its first ten minutes.
async fn silence(proxy: &Proxy, prefix: &str) {
    let search = format!("GET /v1/kv/{prefix}.dsync/?recurse");
    let requests = || {
        let all = proxy.requests(prefix).into_iter();
        all.filter(|seen| !seen.text.starts_with(&search)).collect::<Vec<_>>()
    };
    // A reply in flight may still cause a release.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = requests().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let since = requests().split_off(before);
    assert!(since.is_empty(), "{since:?}");
}

/// Asserts that another session can lock the key at once.
async fn is_free(direct: &Dsync, name: &str) {
    let asked = Instant::now();
    let lease = acquire(direct, name).await;
    assert!(asked.elapsed() < UNDONE, "{name} was kept for {:?}", asked.elapsed());
    let _ = direct.send(Release(lease)).await.expect("a release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_drops_its_future_at_any_moment_leaves_nothing() {
    let proxy = Proxy::to(agent().http_addr());
    proxy.set(Mode::Delay(Duration::from_millis(20)));
    let direct = runtime("dropped");
    let slow = at(proxy.url(), "dropped").start().expect("valid settings");
    // Start cold, so that this also happens during the creation of the first session.
    let cold = (0..20).map(|number| {
        let asked = slow.send(Acquire::new(key(&format!("cold/{number}"))));
        tokio::time::timeout(Duration::from_millis(10 * number), asked)
    });
    drop(futures::future::join_all(cold).await);
    slow.ready().await.expect("an agent that runs");

    let warm = (0..=20).map(|number| {
        let slow = &slow;
        async move {
            let name = format!("free/{number}");
            poll_and_drop(slow.send(Acquire::new(key(&name))), number as usize).await;
            // One exchange takes 40 ms: end before, during and after it.
            let asked = slow.send(Acquire::new(key(&format!("timed/{number}"))));
            let _ = tokio::time::timeout(Duration::from_millis(5 * number), asked).await;
            let asked = slow.send(TryAcquire::new(key(&format!("tried/{number}"))));
            let _ = tokio::time::timeout(Duration::from_millis(5 * number), asked).await;
        }
    });
    futures::future::join_all(warm).await;

    let contended = (0..=20u64).map(|number| {
        let (slow, direct) = (&slow, &direct);
        async move {
            let name = format!("held/{number}");
            let held = acquire(direct, &name).await;
            // Give up shortly before or after the holder releases the key.
            let give_back = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let _ = direct.send(Release(held)).await.expect("a release");
            };
            let asked = slow.send(Acquire::new(key(&name)));
            let given_up = tokio::time::timeout(Duration::from_millis(200 + 10 * number), asked);
            let (_, given_up) = tokio::join!(give_back, given_up);
            drop(given_up);
            is_free(direct, &name).await;
        }
    });
    futures::future::join_all(contended).await;
    for number in 0..=20 {
        for kind in ["cold", "free", "timed", "tried"] {
            is_free(&direct, &format!("{kind}/{number}")).await;
        }
    }
    no_key_is_left("dropped");
    silence(&proxy, "dropped/").await;
    end(slow, "dropped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_time_is_over_leaves_nothing() {
    let proxy = Proxy::to(agent().http_addr());
    proxy.set(Mode::Delay(Duration::from_millis(20)));
    let direct = runtime("late");
    let slow = at(proxy.url(), "late").start().expect("valid settings");
    slow.ready().await.expect("an agent that runs");
    let held = acquire(&direct, "held").await;
    let free = (0..=20).map(|number| {
        let asked = Acquire::new(key(&format!("free/{number}")));
        slow.send(asked.within(Duration::from_millis(5 * number)))
    });
    let held_too = (0..=20).map(|number| {
        slow.send(Acquire::new(key("held")).within(Duration::from_millis(20 * number)))
    });
    drop(futures::future::join_all(free.chain(held_too).collect::<Vec<_>>()).await);
    for number in 0..=20 {
        is_free(&direct, &format!("free/{number}")).await;
    }
    let _ = direct.send(Release(held)).await.expect("a release");
    is_free(&direct, "held").await;
    no_key_is_left("late");
    silence(&proxy, "late/").await;
    end(slow, "late").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_while_the_reply_to_its_lock_is_lost_leaves_nothing() {
    let proxy = Proxy::to(agent().http_addr());
    let cut = at(proxy.url(), "lost-reply").start().expect("valid settings");
    cut.ready().await.expect("an agent that runs");
    for (round, after) in [Mode::Forward, Mode::Reset].into_iter().enumerate() {
        let name = format!("lost-reply/{round}");
        // A lock for which no open connection is free is not sent.
        for _ in 0..10 {
            proxy.set(Mode::Forward);
            cut.send(Inspect(key("other"))).await.expect("an answer, over an open connection");
            proxy.set(Mode::OneWay);
            let asked = Acquire::new(key(&round.to_string())).within(Duration::from_millis(300));
            cut.send(asked).await.expect_err("no reply passes");
            if !proxy.requests(&name).is_empty() {
                break;
            }
        }
        let locked = || {
            let entry = agent().operator().kv_get(&name);
            entry.is_some_and(|entry| entry.session.is_some()).then_some(())
        };
        eventually(UNDONE, locked).expect("the lock took effect");
        proxy.set(after);
        proxy.set(Mode::Forward);
        no_key_is_left("lost-reply");
    }
    silence(&proxy, "lost-reply/").await;
    end(cut, "lost-reply").await;
}

/// The network holds one lock request while everything else passes. The request is abandoned, the
/// key seems free, and then the request arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_arrives_long_after_it_was_given_up_is_void() {
    let proxy = Proxy::to(agent().http_addr());
    let direct = runtime("very-late");
    let held_up = at(proxy.url(), "very-late").start().expect("valid settings");
    held_up.ready().await.expect("an agent that runs");
    let gave_up = async || {
        let limit = held_up.timing().request_timeout() + Duration::from_secs(1);
        tokio::time::sleep(limit).await;
        assert!(proxy.holds(), "no request was held");
    };

    // The caller has gone.
    proxy.hold_next("very-late/gone");
    let asked = tokio::spawn(held_up.send(Acquire::new(key("gone"))));
    tokio::task::block_in_place(|| eventually(UNDONE, || proxy.holds().then_some(())));
    asked.abort();
    gave_up().await;
    no_key_is_left("very-late");
    proxy.let_pass();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(locks_of("very-late"), Vec::<String>::new(), "the late lock took effect");
    is_free(&direct, "gone").await;

    // The caller got the lock by another attempt, and has released it.
    proxy.hold_next("very-late/again");
    let lease = acquire(&held_up, "again").await;
    assert!(proxy.holds(), "no request was held");
    let _ = held_up.send(Release(lease)).await.expect("a release");
    proxy.let_pass();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(locks_of("very-late"), Vec::<String>::new(), "the late lock took effect");
    is_free(&direct, "again").await;

    // A release also arrives late, when the key has long been locked again.
    let lease = acquire(&held_up, "release").await;
    proxy.hold_next("very-late/release");
    let _ = held_up.send(Release(lease)).await.expect("repeated until it was answered");
    assert!(proxy.holds(), "no request was held");
    let lease = acquire(&held_up, "release").await;
    proxy.let_pass();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(lease.is_valid());
    direct.send(TryAcquire::new(key("release"))).await.expect_err("still held");
    drop(lease);
    no_key_is_left("very-late");
    silence(&proxy, "very-late/").await;
    end(held_up, "very-late").await;
}
