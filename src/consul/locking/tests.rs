//! Which locks share a transaction, and the answer of each.

use futures::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::consul::batches::{MOST, TURNS};
use crate::{
    consul::{
        client::tests::{Scripted, scripted},
        fact::{Expect, Fence},
        wire::WireReply,
    },
    key::Key,
};

const ID: &str = "ee474eed-262a-2872-71c3-42544dd66dce";
const LIMIT: Duration = Duration::from_secs(2);

fn lock(key: &str) -> Lock {
    lock_under(key, Fence::Unraised)
}

fn lock_under(key: &str, fence: Fence) -> Lock {
    let (session, expect) = (ID.into(), Expect::Missing);
    Lock { key: Key::new(key).unwrap(), session, value: vec![], flags: 7, fence, expect }
}

/// The reply to a transaction that locked these keys.
fn locked(keys: &[&str]) -> Option<WireReply> {
    let entry = |key| {
        json!({"KV": {"Key": key, "Flags": 7, "Value": null, "Session": ID, "LockIndex": 1,
                      "CreateIndex": 9, "ModifyIndex": 9}})
    };
    let results: Vec<Value> = keys.iter().map(entry).collect();
    reply(200, &json!({"Results": results, "Errors": null}))
}

/// The reply to a transaction that failed because of these operations.
fn failed(errors: &[(u64, &str)]) -> Option<WireReply> {
    let errors: Vec<Value> =
        errors.iter().map(|(op, what)| json!({"OpIndex": op, "What": what})).collect();
    reply(409, &json!({"Results": null, "Errors": errors}))
}

fn reply(status: u16, body: &impl ToString) -> Option<WireReply> {
    Some(WireReply { status, index: None, body: body.to_string().into_bytes() })
}

/// The keys that each request locks.
fn keys_asked(consul: &Scripted) -> Vec<Vec<String>> {
    let keys = |body: &[u8]| {
        let ops: Value = serde_json::from_slice(body).unwrap();
        let locks = ops.as_array().unwrap().iter().filter(|op| op["KV"]["Verb"] == "lock");
        locks.map(|op| op["KV"]["Key"].as_str().unwrap().to_owned()).collect()
    };
    consul.asked().iter().map(|request| keys(&request.body)).collect()
}

/// Requests all locks at once while every turn is taken, and then frees the turns.
async fn lock_in_line(consul: &Consul, asks: &[Lock]) -> Vec<Locked> {
    let turns: Vec<Turn> = (0..TURNS).map(|_| Turn::take(consul.batches()).unwrap()).collect();
    let all = join_all(asks.iter().map(|ask| consul.lock(ask, LIMIT)));
    let go = async {
        tokio::task::yield_now().await;
        // One goes on; the others stay for ever.
        let mut turns = turns;
        drop(turns.pop());
        turns
    };
    let (answers, turns) = tokio::join!(all, go);
    drop(turns);
    assert!(consul.batches().borrow().is_at_rest(), "a turn is lost");
    answers
}

#[actix::test]
async fn few_locks_go_alone_and_at_once() {
    tokio::time::pause();
    let consul = scripted((0..TURNS).map(|_| None).collect(), None);
    let asks: Vec<Lock> = (0..TURNS).map(|n| lock(&format!("k{n}"))).collect();
    join_all(asks.iter().map(|ask| consul.lock(ask, LIMIT))).await;
    assert_eq!(keys_asked(&consul), [["k0"], ["k1"], ["k2"], ["k3"]]);
}

#[actix::test]
async fn locks_in_line_share_a_transaction_and_its_index() {
    let consul = scripted(vec![locked(&["a", "b", "c"])], None);
    let answers = lock_in_line(&consul, &["a", "b", "c"].map(lock)).await;
    assert_eq!(answers, [const { Locked::At(9) }; 3]);
    assert_eq!(keys_asked(&consul), [["a", "b", "c"]]);
}

#[actix::test]
async fn a_transaction_keeps_to_consuls_limits() {
    tokio::time::pause();
    let consul = scripted(vec![], None);
    let asks: Vec<Lock> = (0..MOST + 2).map(|n| lock(&format!("k{n}"))).collect();
    lock_in_line(&consul, &asks).await;
    let ops: Value = serde_json::from_slice(&consul.asked()[0].body).unwrap();
    assert_eq!(ops.as_array().unwrap().len(), 63);

    let consul = scripted(vec![], None);
    let big = |n| Lock { value: vec![0; 50_000], ..lock(&format!("k{n}")) };
    let asks: Vec<Lock> = (0..5).map(big).collect();
    lock_in_line(&consul, &asks).await;
    assert_eq!(keys_asked(&consul)[0].len(), 2);
    assert!(consul.asked().iter().all(|request| request.body.len() < 512 * 1024));
}

#[actix::test]
async fn a_failed_lock_gets_its_own_answer_and_the_others_are_sent_again() {
    let (held, exists) = ("failed to lock key \"b\", lock is already held", "key \"d\" exists");
    let consul = scripted(vec![failed(&[(4, held), (7, exists)]), locked(&["a", "c"])], None);
    let answers = lock_in_line(&consul, &["a", "b", "c", "d"].map(lock)).await;
    assert_eq!(answers, [Locked::At(9), Locked::Held, Locked::At(9), Locked::Changed]);
    assert_eq!(keys_asked(&consul), [vec!["a", "b", "c", "d"], vec!["a", "c"]]);
}

#[actix::test]
async fn locks_are_not_sent_again_without_time_for_an_answer() {
    tokio::time::pause();
    let consul =
        scripted(vec![failed(&[(2, "failed to lock key \"a\", lock is already held")])], None);
    consul.replies_after(LIMIT - LIMIT / 8);
    let answers = lock_in_line(&consul, &["a", "b", "c"].map(lock)).await;
    let aside = || Locked::AsideUnsent(Trouble::InLine(LIMIT));
    assert_eq!(answers, [Locked::Held, aside(), aside()]);
    assert_eq!(keys_asked(&consul), [["a", "b", "c"]]);
}

#[actix::test]
async fn what_concerns_the_session_or_its_fence_concerns_every_lock() {
    let gone = format!("invalid session \"{ID}\"");
    let consul = scripted(vec![failed(&[(2, &gone), (4, &gone)])], None);
    let answers = lock_in_line(&consul, &["a", "b"].map(lock)).await;
    assert_eq!(answers, [const { Locked::SessionGone }; 2]);

    let fence = format!("key \".dsync/{ID}\" exists");
    let consul = scripted(vec![failed(&[(0, &fence)])], None);
    let answers = lock_in_line(&consul, &["a", "b"].map(lock)).await;
    assert_eq!(answers, [const { Locked::Fenced }; 2]);
}

#[actix::test]
async fn locks_of_different_fences_do_not_share() {
    let consul = scripted(vec![locked(&["a", "b"]), locked(&["c"]), locked(&["a"])], None);
    let asks = [lock("a"), lock("b"), lock_under("c", Fence::At(5)), lock("a")];
    let answers = lock_in_line(&consul, &asks).await;
    assert_eq!(answers, [const { Locked::At(9) }; 4]);
    assert_eq!(keys_asked(&consul), [vec!["a", "b"], vec!["c"], vec!["a"]]);
}

#[actix::test]
async fn a_fault_that_is_nobodys_and_an_answer_that_is_not_consuls_leave_all_unknown() {
    for answer in [
        failed(&[(99, "failed to lock key")]),
        failed(&[(2, "something new")]),
        reply(500, &"No cluster leader"),
        reply(200, &"<html>"),
        reply(200, &json!({"Results": [], "Errors": null})),
    ] {
        let consul = scripted(vec![answer.clone(), None], None);
        tokio::time::pause();
        let answers = lock_in_line(&consul, &["a", "b"].map(lock)).await;
        assert!(answers.iter().all(|it| matches!(it, Locked::Unknown(_))), "{answers:?}");
        tokio::time::resume();
    }
}

#[actix::test]
async fn an_answer_that_leaves_one_out_leaves_that_one_unknown() {
    let consul = scripted(vec![locked(&["a", "c"])], None);
    let answers = lock_in_line(&consul, &["a", "b", "c"].map(lock)).await;
    assert!(matches!(answers[..], [Locked::At(9), Locked::Unknown(_), Locked::At(9)]));
}

#[actix::test]
async fn a_transaction_that_consul_will_not_read_is_tried_lock_by_lock() {
    let large = "Request body(600000 bytes) too large, max size: 524288 bytes.";
    let replies = vec![reply(413, &large), locked(&["a"]), reply(413, &large)];
    let consul = scripted(replies, None);
    let answers = lock_in_line(&consul, &["a", "b"].map(lock)).await;
    assert!(matches!(answers[..], [Locked::At(9), Locked::Refused(_)]), "{answers:?}");
}

#[actix::test]
async fn silence_is_unknown_for_all_and_everybody_is_answered_within_twice_the_limit() {
    tokio::time::pause();
    let consul = scripted(vec![], None);
    let asks: Vec<Lock> = (0..500).map(|n| lock(&format!("k{n}"))).collect();
    let from = Instant::now();
    let answers = join_all(asks.iter().map(|ask| consul.lock(ask, LIMIT))).await;
    // Locks that were never sent are answered `Unsent`.
    let sent: usize = keys_asked(&consul).iter().map(Vec::len).sum();
    let unknown = answers.iter().filter(|it| matches!(it, Locked::Unknown(_))).count();
    let unsent = Locked::Unsent(Trouble::InLine(LIMIT));
    let unsent = answers.iter().filter(|it| **it == unsent).count();
    assert_eq!((unknown, unsent), (sent, 500 - sent));
    assert!((TURNS..=TURNS * (MOST + 1)).contains(&sent), "{sent}");
    assert!(from.elapsed() <= 2 * LIMIT + Duration::from_millis(5), "{:?}", from.elapsed());
    assert!(consul.batches().borrow().is_at_rest());
}

#[actix::test]
async fn a_dropped_lock_does_not_affect_the_others() {
    // Dropped in line, before it is sent: the others are sent without it.
    let consul = scripted(vec![locked(&["b"])], None);
    let mut turns: Vec<Turn> = (0..TURNS).map(|_| Turn::take(consul.batches()).unwrap()).collect();
    let (a, b) = (lock("a"), lock("b"));
    let mut first = Box::pin(consul.lock(&a, LIMIT));
    let mut second = Box::pin(consul.lock(&b, LIMIT));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(turns.pop());
    // Dropped after it got its turn, before it used it.
    drop(first);
    assert_eq!(second.await, Locked::At(9));
    assert_eq!(keys_asked(&consul), [["b"]]);

    // Dropped after it took others along.
    let consul = scripted(vec![locked(&["a", "b"])], None);
    let mut turns: Vec<Turn> = (0..TURNS).map(|_| Turn::take(consul.batches()).unwrap()).collect();
    let mut first = Box::pin(consul.lock(&a, LIMIT));
    let mut second = Box::pin(consul.lock(&b, LIMIT));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(turns.pop());
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    assert_eq!(second.await, Locked::At(9));
    tokio::task::yield_now().await;
    drop(turns);
    assert!(consul.batches().borrow().is_at_rest());
}

/// Against an engine that decides itself what can be locked.
#[cfg(feature = "embedded")]
#[actix::test]
async fn a_hundred_concurrent_locks_get_the_free_keys_in_few_transactions() {
    use crate::consul::{
        ask::{Checks, CreateSession},
        fact::{Created, SessionId},
    };

    let consul = Consul::over_backend(crate::embedded::Embedded::new(), None);
    let new = CreateSession {
        name: String::new(),
        ttl: Duration::from_secs(15),
        lock_delay: Duration::ZERO,
        checks: Checks::default(),
        patience: Duration::ZERO,
    };
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let Created::Session(id) = consul.ask(&new, LIMIT).await else { panic!("no session") };
        sessions.push(id);
    }
    let lock_for =
        |n: usize, session: &SessionId| Lock { session: session.clone(), ..lock(&format!("k{n}")) };
    let held = [0, 40, 41, 99];
    for n in held {
        let answer = consul.lock(&lock_for(n, &sessions[0]), LIMIT).await;
        assert!(matches!(answer, Locked::At(_)), "{answer:?}");
    }
    let asks: Vec<Lock> = (0..100).map(|n| lock_for(n, &sessions[1])).collect();
    let answers = lock_in_line(&consul, &asks).await;
    let mut transactions = std::collections::BTreeSet::new();
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Locked::At(index) if !held.contains(&n) => drop(transactions.insert(*index)),
            Locked::Changed if held.contains(&n) => {}
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(transactions.len(), 100_usize.div_ceil(MOST));
}
