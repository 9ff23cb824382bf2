//! Foreign keys and other lock clients.

use std::process::{Command, Stdio};
use std::time::Duration;

use actix_dsync::{Acquire, Error, Release, Released, TryAcquire, config::HASHICORP_LOCK_FLAGS};
use serde_json::json;

use crate::locks::{acquire, agent, at, key, runtime};
use crate::support::eventually;

/// The flags of go-lanai's locks.
const LANAI_FLAGS: u64 = 0x275f_2b61_0e0c_3019;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_s_configuration_is_refused_and_left_untouched() {
    let operator = agent().operator();
    operator.kv_put("config/db", b"precious");
    let before = operator.kv_get("config/db");
    let dsync = runtime("config");
    for answer in [
        dsync.send(TryAcquire::new(key("db"))).await,
        dsync.send(Acquire::new(key("db"))).await,
        dsync.send(Acquire::new(key("db")).within(Duration::from_secs(5))).await,
    ] {
        assert_eq!(
            answer.expect_err("not a lock"),
            Error::FlagConflict { key: key("db"), found: 0 }
        );
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!(operator.kv_get("config/db"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_of_another_kind_are_refused_held_or_free_unless_configured() {
    let operator = agent().operator();
    let session = operator.create_session(&json!({ "TTL": "60s", "LockDelay": "0s" }));
    let session = session.expect("the agent is ready");
    let put = |name: &str, more: &str| {
        let path = format!("/v1/kv/lanai/{name}?flags={LANAI_FLAGS}{more}");
        operator.ask("PUT", &path, b"v").expect("an answer");
    };
    put("free", "");
    put("held", &format!("&acquire={session}"));
    let before = [operator.kv_get("lanai/free"), operator.kv_get("lanai/held")];

    let dsync = runtime("lanai");
    for name in ["free", "held"] {
        let answer = dsync.send(Acquire::new(key(name))).await;
        assert_eq!(
            answer.expect_err("not ours"),
            Error::FlagConflict { key: key(name), found: LANAI_FLAGS }
        );
    }
    assert_eq!([operator.kv_get("lanai/free"), operator.kv_get("lanai/held")], before);

    let lanai = at(agent().url(), "lanai").flags(LANAI_FLAGS).start().expect("valid");
    let refused = lanai.send(TryAcquire::new(key("held"))).await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
    let lease = acquire(&lanai, "free").await;
    assert_eq!(operator.kv_get("lanai/free").expect("held").flags, LANAI_FLAGS);
    // What its client sends to lock a key is refused.
    let path = format!("/v1/kv/lanai/free?flags={LANAI_FLAGS}&acquire={session}");
    let answer = operator.ask("PUT", &path, b"v").expect("an answer");
    assert_eq!((answer.status, answer.body.trim_ascii()), (200, &b"false"[..]));
    assert!(lease.is_valid());
    assert_eq!(lanai.send(Release(lease)).await, Ok(Released::Confirmed));
    operator.destroy_session(&session);
    drop(acquire(&lanai, "held").await);
    for dsync in [dsync, lanai] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_lock_and_we_respect_each_other() {
    let Some(program) = std::env::var_os("CONSUL_BIN") else { return };
    let consul_lock = |options: &[&str], then: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("lock").arg(format!("-http-addr={}", agent().url()));
        command.args(options).arg("interop").args(then);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let operator = agent().operator();
    let dsync = runtime("interop");
    dsync.ready().await.expect("an agent that runs");

    // Their lock first.
    let mut theirs = consul_lock(&[], &["sleep 2"]).spawn().expect("consul runs");
    let held = || operator.kv_get("interop/.lock").filter(|entry| entry.session.is_some());
    let entry = eventually(Duration::from_secs(10), held).expect("consul lock has the key");
    assert_eq!(entry.flags, HASHICORP_LOCK_FLAGS);
    let refused = dsync.send(TryAcquire::new(key(".lock"))).await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
    let lease = acquire(&dsync, ".lock").await;
    theirs.wait().expect("our own child");

    // Now our lock.
    assert_eq!(held().expect("held by us").flags, HASHICORP_LOCK_FLAGS);
    let refused = consul_lock(&["-try=1s"], &["true"]).output().expect("consul runs");
    assert!(!refused.status.success(), "{refused:?}");
    assert!(lease.is_valid());
    assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed));
    let granted = consul_lock(&["-try=10s"], &["true"]).output().expect("consul runs");
    assert!(granted.status.success(), "{granted:?}");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}
