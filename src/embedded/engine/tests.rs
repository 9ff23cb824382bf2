//! The engine, driven step by step.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn engine(expiry: Expiry) -> Engine {
    Engine::new(Settings { expiry, ..Settings::default() })
}

fn at(seconds: u64) -> Moment {
    Moment::from_nanos(3_600_000_000_000) + SECOND * u32::try_from(seconds).unwrap()
}

fn session(engine: &mut Engine, now: Moment, ttl: &str, lock_delay: Duration) -> String {
    let draft = SessionDraft {
        ttl: ttl.into(),
        lock_delay: i64::try_from(lock_delay.as_nanos()).unwrap(),
        ..SessionDraft::default()
    };
    engine.create_session(now, draft).unwrap().to_string()
}

fn acquire(engine: &mut Engine, now: Moment, key: &str, session: &str) -> bool {
    engine.put(now, key.as_bytes(), Vec::new(), 0, PutMode::Acquire(session)).unwrap()
}

#[test]
fn a_session_expires_at_its_own_instant_however_late_the_engine_advances() {
    let mut engine = engine(Expiry::TwiceTtl);
    let a = session(&mut engine, at(0), "10s", SECOND * 15);
    let b = session(&mut engine, at(0), "", Duration::ZERO);
    assert!(acquire(&mut engine, at(1), "k", &a));
    assert_eq!(engine.next_wakeup(), Some(at(20)));
    // The engine first advances at 34 s; the delay still starts at 20 s.
    assert!(!acquire(&mut engine, at(34), "k", &b));
    assert!(acquire(&mut engine, at(35), "k", &b));
    assert_eq!(engine.next_wakeup(), None);
}

#[test]
fn the_strict_engine_ends_a_session_exactly_at_its_ttl() {
    let mut engine = engine(Expiry::Ttl);
    let id = session(&mut engine, at(0), "10s", SECOND);
    assert!(engine.renew_session(at(9), &id).unwrap().is_some());
    assert_eq!(engine.next_wakeup(), Some(at(19)));
    let just_before = at(19) - Duration::from_nanos(1);
    engine.advance(just_before);
    assert_eq!(engine.sessions().count(), 1);
    assert!(engine.renew_session(at(19), &id).unwrap().is_none());
}

#[test]
fn a_lock_delay_is_capped_at_a_minute_and_outlives_the_key() {
    let mut engine = engine(Expiry::TwiceTtl);
    let a = session(&mut engine, at(0), "", SECOND * 300);
    let b = session(&mut engine, at(0), "", Duration::ZERO);
    assert!(acquire(&mut engine, at(0), "k", &a));
    engine.destroy_session(at(1), &a).unwrap();
    assert!(engine.delete(at(2), b"k", None));
    assert!(!acquire(&mut engine, at(61) - Duration::from_nanos(1), "k", &b));
    assert!(acquire(&mut engine, at(61), "k", &b));
}

#[test]
fn an_election_restarts_timers_and_a_restart_also_lock_delays() {
    let mut engine = engine(Expiry::TwiceTtl);
    let a = session(&mut engine, at(0), "10s", SECOND);
    engine.elect(at(19));
    assert_eq!(engine.next_wakeup(), Some(at(39)));
    let b = session(&mut engine, at(19), "", SECOND * 10);
    assert!(acquire(&mut engine, at(20), "k", &b));
    engine.destroy_session(at(21), &b).unwrap();
    engine.elect(at(25));
    engine.restart(at(30));
    assert!(!acquire(&mut engine, at(39), "k", &a));
    assert!(acquire(&mut engine, at(40), "k", &a));
}

#[test]
fn reaped_tombstones_let_the_index_of_a_prefix_fall() {
    let mut engine = engine(Expiry::TwiceTtl);
    for key in ["p/a", "p/b"] {
        engine.put(at(0), key.as_bytes(), Vec::new(), 0, PutMode::Plain).unwrap();
    }
    let written = engine.prefix_index(b"p/");
    engine.delete(at(1), b"p/a", None);
    let deleted = engine.prefix_index(b"p/");
    assert!(deleted > written);
    let reaped = engine.next_wakeup().unwrap();
    assert!(reaped > at(15 * 60) && reaped <= at(15 * 60 + 31));
    engine.advance(reaped);
    assert_eq!(engine.prefix_index(b"p/"), written);
    assert!(engine.kv_index() > deleted);
}

#[test]
fn an_empty_restart_starts_the_indexes_over() {
    let mut engine = engine(Expiry::TwiceTtl);
    let first = engine.kv_index();
    engine.put(at(0), b"k", Vec::new(), 0, PutMode::Plain).unwrap();
    let life = engine.life();
    engine.restart_empty(at(1));
    assert_eq!((engine.kv_index(), engine.pairs(b"").count()), (first, 0));
    assert_ne!(engine.life(), life);
}

#[test]
fn equal_seeds_give_equal_session_ids_and_different_seeds_different_ones() {
    let ids = |seed| {
        let mut engine = Engine::new(Settings { seed, ..Settings::default() });
        [(); 3].map(|()| session(&mut engine, at(0), "", SECOND))
    };
    assert_eq!(ids(7), ids(7));
    assert_ne!(ids(7), ids(8));
    assert_eq!(ids(7)[0].len(), 36);
}

fn verbs() -> impl Strategy<Value = Verb> {
    prop::sample::select(vec![
        Verb::Set,
        Verb::Cas,
        Verb::Lock,
        Verb::Unlock,
        Verb::Get,
        Verb::CheckNotExists,
        Verb::Delete,
        Verb::DeleteCas,
        Verb::DeleteTree,
    ])
}

proptest! {
    /// The last operation fails and undoes all others.
    #[test]
    fn a_failed_transaction_changes_nothing(
        ops in prop::collection::vec((verbs(), "[ab]{1,2}", 0u8..3, any::<bool>()), 1..12),
        deleted in any::<bool>(),
    ) {
        let mut engine = engine(Expiry::TwiceTtl);
        let id = session(&mut engine, at(0), "", SECOND);
        for key in ["a", "ab", "b"] {
            engine.put(at(0), key.as_bytes(), b"0".to_vec(), 0, PutMode::Plain).unwrap();
        }
        acquire(&mut engine, at(0), "a", &id);
        if deleted {
            engine.delete(at(0), b"b", None);
        }
        let mut ops: Vec<TxnOp> = ops
            .into_iter()
            .map(|(verb, key, value, fresh)| TxnOp {
                index: if fresh { engine.pair(key.as_bytes()).map_or(0, |p| p.modify_index) } else { 1 },
                verb,
                key: key.into_bytes(),
                value: vec![value],
                flags: 0,
                session: id.clone(),
            })
            .collect();
        ops.push(TxnOp {
            verb: Verb::CheckIndex,
            key: b"none".to_vec(),
            value: Vec::new(),
            flags: 0,
            index: 0,
            session: String::new(),
        });
        let before = (format!("{:?}", engine.store), format!("{:?}", engine.reaps), engine.version());
        prop_assert!(engine.transact(at(0), ops).is_err());
        let after = (format!("{:?}", engine.store), format!("{:?}", engine.reaps), engine.version());
        prop_assert_eq!(before, after);
    }
}
