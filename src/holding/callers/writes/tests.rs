use std::sync::Arc;

use super::*;
use crate::{
    clock::{Clock, Moment},
    consul::fact::Trouble,
    key::Key,
    protocol::cell::DeadlineCell,
};

fn lease() -> Arc<LeaseState> {
    let cell = Arc::new(DeadlineCell::new(Moment::from_nanos(u64::MAX)));
    let (key, token) = (Key::new("k").unwrap(), FencingToken::new(7, 0).unwrap());
    Arc::new(LeaseState::new(key, token, CallId(1), cell, Clock::tokio()))
}

fn value(bytes: &[u8]) -> Content {
    Content::Value(bytes.into())
}

/// Begins the next write, and concludes it with this outcome. Returns its content as text.
fn write(writes: &mut Writes, under: &Arc<LeaseState>, outcome: Written) -> Option<String> {
    let pending = writes.next()?;
    let content = writes.begin(pending);
    writes.conclude(outcome, Some(under), &mut Vec::new());
    Some(match content {
        Content::Value(value) => String::from_utf8_lossy(&value).into_owned(),
        Content::Entries(_) => "entries".into(),
    })
}

#[test]
fn the_campaigns_own_value_does_not_stop_the_leaders_writes_while_it_is_denied() {
    let (under, mut writes) = (lease(), Writes::default());
    writes.add_own_value(under.clone(), b"own"[..].into());
    let entries = writes.add(under.clone(), Content::Entries(Arc::new([])));
    let denied = || Written::Denied("key:write".into());
    assert_eq!(write(&mut writes, &under, denied()).as_deref(), Some("own"));
    let done = || Written::Done { index: 9 };
    assert_eq!(write(&mut writes, &under, done()).as_deref(), Some("entries"));
    drop(entries);
    assert_eq!(write(&mut writes, &under, done()).as_deref(), Some("own"), "and it is not lost");
    assert_eq!(write(&mut writes, &under, done()), None);
}

#[test]
fn the_campaigns_own_value_never_replaces_one_that_its_leader_wrote() {
    let (under, mut writes) = (lease(), Writes::default());
    writes.add_own_value(under.clone(), b"own"[..].into());
    let denied = || Written::Denied("key:write".into());
    write(&mut writes, &under, denied());
    let _answers = [writes.add(under.clone(), value(b"1")), writes.add(under.clone(), value(b"2"))];
    // One that was denied as well replaces nothing.
    assert_eq!(write(&mut writes, &under, denied()).as_deref(), Some("own"));
    assert_eq!(write(&mut writes, &under, denied()).as_deref(), Some("1"));
    let done = || Written::Done { index: 9 };
    assert_eq!(write(&mut writes, &under, done()).as_deref(), Some("2"));
    assert_eq!(write(&mut writes, &under, done()), None);

    // The key may have this one.
    writes.add_own_value(under.clone(), b"own"[..].into());
    write(&mut writes, &under, denied());
    let _answer = writes.add(under.clone(), value(b"3"));
    let unknown = Written::Unknown(Trouble::Broken("reset".into()));
    assert_eq!(write(&mut writes, &under, denied()).as_deref(), Some("own"));
    assert_eq!(write(&mut writes, &under, unknown).as_deref(), Some("3"));
    assert_eq!(write(&mut writes, &under, done()).as_deref(), Some("3"), "until the key has it");
    assert_eq!(write(&mut writes, &under, done()), None);
}
