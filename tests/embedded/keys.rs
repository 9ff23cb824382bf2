//! The entries that the runtime writes.

use std::time::Duration;

use actix_dsync::{
    Acquire, Dsync, Error, Explain, Inspect, Key, LockValue, LossReason, Release, Released,
    TryAcquire,
    config::{HASHICORP_LOCK_FLAGS, Retention},
    embedded::Embedded,
    report::KeyState,
};

use crate::{acquire, key, runtime};

#[actix::test]
async fn every_entry_has_the_prefix_and_no_reported_key_does() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = || Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder().prefix("app/locks").start().unwrap();
    let lease = acquire(&dsync, "a").await;
    assert_eq!(lease.key().as_str(), "a");
    let entries = consul.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].key.as_str(), entries[0].flags), ("app/locks/a", HASHICORP_LOCK_FLAGS));
    // Another prefix is another lock.
    let other = builder().prefix("app").start().unwrap();
    assert!(acquire(&other, "a").await.is_valid());
    assert!(other.send(TryAcquire::new(key("locks/a"))).await.is_err());
    assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
}

#[actix::test]
async fn keep_leaves_key_and_value_until_the_next_owner_writes_its_own() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder.retention(Retention::Keep).start().unwrap();
    let mut last = None;
    for round in 0..5 {
        let value = format!("round {round}");
        let asked = Acquire::new(key("k")).value(LockValue::Bytes(value.clone().into_bytes()));
        let lease = dsync.send(asked).await.unwrap();
        assert!(Some(lease.token()) > last);
        last = Some(lease.token());
        let holder = dsync.send(Inspect(key("k"))).await.unwrap().expect("held");
        assert_eq!(&*holder.value, value.as_bytes());
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
        let entries = consul.entries();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].session.as_ref(), &entries[0].value[..]), (None, value.as_bytes()));
        assert_eq!(entries[0].flags, HASHICORP_LOCK_FLAGS);
        assert_eq!(dsync.send(Inspect(key("k"))).await, Ok(None));
    }
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(consul.entries().len(), 1);
}

#[actix::test]
async fn a_key_that_consul_does_not_release_is_freed_once_nothing_else_is_held() {
    tokio::time::pause();
    let consul = Embedded::new();
    let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder.retention(Retention::Keep).start().unwrap();
    let (lease, other) = (acquire(&dsync, "k").await, acquire(&dsync, "other").await);
    // More than fits a transaction, so that the release fails.
    consul.write_key("k", vec![b'x'; 450_000]);
    let mut released = dsync.send(Release(lease));
    let lease = dsync.timing().lease();
    assert!(tokio::time::timeout(2 * lease, &mut released).await.is_err());
    assert!(other.is_valid(), "it does not cost other keys");
    let report = dsync.send(Explain(key("k"))).await.unwrap();
    assert_eq!(report.state, KeyState::Releasing);
    assert!(report.last_error.unwrap().starts_with("release failed: "));

    drop(other);
    let reply = tokio::time::timeout(Duration::from_secs(2), released).await.unwrap();
    assert_eq!(reply, Ok(Released::AlreadyLost(LossReason::SessionGone)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let entries = consul.entries();
    let entry = entries.iter().find(|entry| entry.key == "k").unwrap();
    assert_eq!((entry.session.as_ref(), entry.value.len()), (None, 450_000));
    // It continues with another session.
    assert!(acquire(&dsync, "other").await.is_valid());
}

#[actix::test]
async fn keep_leaves_a_value_that_somebody_wrote_over_ours() {
    tokio::time::pause();
    for watched in [false, true] {
        let consul = Embedded::new();
        let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
        let dsync = builder.retention(Retention::Keep).start().unwrap();
        let lease = acquire(&dsync, "k").await;
        if watched {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        consul.write_key("k", "a note");
        if watched {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(lease.is_valid());
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
        let entries = consul.entries();
        assert_eq!(entries[0].value, b"a note");
        assert_eq!(entries[0].session, None);
        // The key is a lock of ours again.
        assert_eq!(entries[0].flags, HASHICORP_LOCK_FLAGS);
        assert!(acquire(&dsync, "k").await.is_valid());
    }
}

#[actix::test]
async fn a_thousand_keys_one_after_another_leave_nothing() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    for number in 0..1_000 {
        let lease = acquire(&dsync, &format!("order/{number}")).await;
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
    }
    assert_eq!(consul.entries(), []);
    assert_eq!(consul.sessions().len(), 1);
}

#[actix::test]
async fn a_name_that_newer_consul_cannot_read_is_refused_in_words() {
    tokio::time::pause();
    let consul = Embedded::new().strict_names(true);
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    let name = Key::new("orders/2024%2F17").unwrap();
    // Consul takes the name in a transaction, and nobody can read it.
    let lease = one.send(Acquire::new(name.clone())).await.unwrap();
    let asked = tokio::time::Instant::now();
    let acquired = two.send(Acquire::new(name.clone())).await.map(drop);
    let tried = two.send(TryAcquire::new(name.clone())).await.map(drop);
    let inspected = one.send(Inspect(name.clone())).await.map(drop);
    for refused in [acquired, tried, inspected] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, Error::NameRefused { key, .. } if *key == name), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("orders/2024%2F17") && text.contains("Key::join"), "{text}");
        assert!(text.contains("invalid key name"), "{text}");
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let report = two.send(Explain(name.clone())).await.unwrap();
    assert!(report.last_error.is_some_and(|why| why.contains("Key::join")));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(lease.is_valid());
    assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed));
    let lease = two.send(Acquire::new(name)).await.unwrap();
    assert_eq!(two.send(Release(lease)).await, Ok(Released::Confirmed));
}

#[actix::test]
async fn joined_keys_pass_between_processes_where_names_are_checked() {
    tokio::time::pause();
    let consul = Embedded::new().strict_names(true);
    let (one, two) = (runtime("one", &consul), runtime("two", &consul));
    for segment in ["2024/17", " a..b ", "100%", "q?x&y=z#", "größe", ".."] {
        let key = Key::join(["orders", segment]).unwrap();
        let lease = one.send(Acquire::new(key.clone())).await.unwrap();
        let waiting = two.send(Acquire::new(key.clone()).within(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(one.send(Release(lease)).await, Ok(Released::Confirmed), "{key}");
        let lease = waiting.await.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(two.send(Release(lease)).await, Ok(Released::Confirmed), "{key}");
    }
}

#[actix::test]
async fn a_fresh_process_that_meets_an_edited_lock_says_what_to_do() {
    tokio::time::pause();
    let consul = Embedded::new();
    let link = consul.link();
    let holder = runtime("holder", &link);
    let lease = acquire(&holder, "k").await;
    consul.write_key("k", "a note of an operator");
    link.cut();
    lease.lost().await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(consul.entries().iter().all(|entry| entry.session.is_none()));

    let fresh = runtime("fresh", &consul);
    let error = fresh.send(Acquire::new(key("k"))).await.map(drop).unwrap_err();
    assert_eq!(error, Error::FlagConflict { key: key("k"), found: 0 });
    assert!(error.to_string().contains("delete the key"), "{error}");
    let report = fresh.send(Explain(key("k"))).await.unwrap();
    assert!(report.last_error.is_some_and(|why| why.contains("delete the key")));
    assert!(consul.delete_key("k"));
    assert!(acquire(&fresh, "k").await.is_valid());
}
