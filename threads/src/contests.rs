//! Threads that share the contest of one key, as the handle, the lock's actor and the
//! leases do: each step is one call under the mutex, and its effects follow from it.

use std::collections::BTreeSet;

use loom::{
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    clock::Moment,
    ownership::{Holder, LossReason},
    protocol::{
        cell::DeadlineCell,
        contest::{Contest, Effect, News},
        queue::{CallId, Patience},
    },
};

const NOW: Moment = Moment::from_nanos(1_000);

#[derive(Default)]
struct Inner {
    contest: Contest,
    /// The callers whose lease has begun and not ended.
    owners: BTreeSet<CallId>,
    granted: Vec<CallId>,
    /// The actor is to read the demand.
    poked: bool,
}

/// The contest behind its mutex.
struct Callers(Mutex<Inner>);

impl Callers {
    /// The key is owned by a first caller.
    fn owned() -> (Arc<Self>, CallId) {
        let callers = Arc::new(Self(Mutex::new(Inner::default())));
        let first = callers.enter();
        callers.own(50);
        (callers, first)
    }

    fn step<T>(&self, step: impl FnOnce(&mut Contest, &mut Vec<Effect>) -> T) -> T {
        let mut inner = self.0.lock().unwrap();
        let mut effects = Vec::new();
        let result = step(&mut inner.contest, &mut effects);
        for effect in effects {
            match effect {
                Effect::Grant { call, .. } => {
                    assert!(inner.owners.is_empty(), "two owners");
                    inner.owners.insert(call);
                    inner.granted.push(call);
                }
                Effect::End { call, .. } => drop(inner.owners.remove(&call)),
                Effect::Poke => inner.poked = true,
                Effect::Refuse { .. } | Effect::Confirm { .. } => {}
            }
        }
        result
    }

    fn enter(&self) -> CallId {
        self.step(|contest, effects| contest.enter(NOW, Patience::Unlimited, effects))
    }

    fn own(&self, index: u64) {
        let cell = std::sync::Arc::new(DeadlineCell::new(Moment::from_nanos(9_000)));
        let holder = Box::new(Holder {
            session: "s".into(),
            session_name: None,
            node: None,
            value: std::sync::Arc::from([]),
            index,
        });
        self.step(|contest, effects| contest.owned(NOW, index, cell, holder, None, effects));
    }

    /// The actor's turn: reads all news, then the demand, and carries it out as far as
    /// Consul would let it.
    fn turn(&self) -> Vec<News> {
        let mut news = Vec::new();
        let demand = loop {
            match self.step(|contest, effects| contest.report(NOW, effects)) {
                Ok(demand) => break demand,
                Err(one) => news.push(one),
            }
        };
        if !demand.keep {
            self.step(|contest, effects| contest.released(NOW, effects));
            if demand.wants() {
                self.own(60);
            }
        }
        news
    }

    /// Takes turns until nothing calls for one.
    fn settle(&self) -> Vec<News> {
        let mut news = Vec::new();
        while std::mem::take(&mut self.0.lock().unwrap().poked) {
            news.extend(self.turn());
        }
        news
    }
}

/// The owner drops its lease while two others queue: one of them gets the key, then the
/// other, never both.
pub(crate) fn a_hand_over_has_one_owner() {
    let (callers, first) = Callers::owned();
    let come = || {
        let callers = callers.clone();
        thread::spawn(move || callers.enter())
    };
    let (one, other) = (come(), come());
    callers.step(|contest, effects| contest.end(NOW, first, false, effects));
    let came = [one.join().unwrap(), other.join().unwrap()];
    callers.settle();
    let served = callers.0.lock().unwrap().granted.clone();
    assert_eq!(served.len(), 2, "the first, and one that came");
    assert!(came.contains(&served[1]));
    callers.step(|contest, effects| contest.end(NOW, served[1], true, effects));
    callers.settle();
    assert_eq!(callers.0.lock().unwrap().granted.len(), 3);
}

/// A caller comes while the owner gives its lease back and the actor takes a turn: it is
/// handed the key, or the actor is poked and wins it again.
pub(crate) fn none_is_forgotten() {
    let (callers, first) = Callers::owned();
    callers.settle();
    let coming = thread::spawn({
        let callers = callers.clone();
        move || callers.enter()
    });
    let actor = thread::spawn({
        let callers = callers.clone();
        move || drop(callers.settle())
    });
    callers.step(|contest, effects| contest.end(NOW, first, false, effects));
    let came = coming.join().unwrap();
    actor.join().unwrap();
    callers.settle();
    assert_eq!(callers.0.lock().unwrap().granted, [first, came]);
}

/// The session is lost while the owner hands the key over: whoever has the lease then
/// loses it, and the loss is news once.
pub(crate) fn a_loss_ends_what_it_meets() {
    let (callers, first) = Callers::owned();
    callers.settle();
    let second = callers.enter();
    let giving = thread::spawn({
        let callers = callers.clone();
        move || callers.step(|contest, effects| contest.end(NOW, first, true, effects))
    });
    let losing = thread::spawn({
        let callers = callers.clone();
        move || {
            let reason = LossReason::SessionGone;
            callers.step(|contest, effects| contest.lost(NOW, reason, effects));
        }
    });
    giving.join().unwrap();
    losing.join().unwrap();
    assert!(callers.0.lock().unwrap().owners.is_empty(), "a lease outlived the loss");
    let mut news = Vec::new();
    while let Err(one) = callers.step(|contest, effects| contest.report(NOW, effects)) {
        news.push(one);
    }
    let lost = news.iter().filter(|it| matches!(it, News::Lost { .. })).count();
    let served = callers.0.lock().unwrap().granted.clone();
    assert_eq!(lost, 1, "{news:?}");
    assert!(served == [first] || served == [first, second]);
}
