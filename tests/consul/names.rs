//! Names of keys that are made of Consul's own words: whoever may choose a key may not decide
//! what becomes of the process that locks it.

use std::time::Duration;

use actix_dsync::{
    Acquire, Error, Release, Released, TryAcquire,
    events::{Filter, LockLost},
};
use serde_json::json;

use crate::locks::{acquire, agent, key, pending, runtime};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_named_like_an_error_of_consul_costs_nobody_a_lock() {
    let operator = agent().operator();
    let dsync = runtime("names");
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let safe = acquire(&dsync, "safe").await;
    let ours = operator.kv_get("names/safe").expect("held").session.expect("held");
    let theirs = operator.create_session(&json!({ "TTL": "60s", "LockDelay": "0s" }));
    let theirs = theirs.expect("the agent is ready");

    let words = [
        &*format!("invalid session {ours}"),
        &format!("invalid session \"{ours}\""),
        "Permission denied",
        "ACL not found",
        "due to lock delay",
        "exists",
        "k\" exists",
        "failed index check",
        "doesn't exist",
        "index is stale",
        "missing session",
        "failed session lookup: index error: UUID must be 36 characters",
        "back\\slash \\\" größe",
    ];
    let limit = Duration::from_secs(5);
    for word in words {
        let name = format!("orders/{word}");
        // Somebody else holds it.
        let lease = acquire(&dsync, &name).await;
        assert_eq!(dsync.send(Release(lease)).await, Ok(Released::Confirmed), "{name}");
        let path = format!("names/{name}");
        let held = json!([{"KV": {"Verb": "lock", "Key": path, "Session": theirs,
                                  "Flags": actix_dsync::config::HASHICORP_LOCK_FLAGS, "Value": ""}}]);
        let answer = operator.ask("PUT", "/v1/txn", held.to_string().as_bytes());
        assert_eq!(answer.expect("an answer").status, 200, "{name}");
        let tried = dsync.send(TryAcquire::new(key(&name))).await;
        assert!(matches!(tried, Err(Error::Held { .. })), "{name}: {tried:?}");
        let asked = dsync.send(Acquire::new(key(&name)).within(Duration::from_millis(300))).await;
        assert!(matches!(asked, Err(Error::WaitedTooLong { .. })), "{name}: {asked:?}");

        // It is free again.
        let waiting = dsync.send(Acquire::new(key(&name)).within(limit));
        let freed = json!([{"KV": {"Verb": "unlock", "Key": path, "Session": theirs,
                                   "Flags": actix_dsync::config::HASHICORP_LOCK_FLAGS, "Value": ""}}]);
        let answer = operator.ask("PUT", "/v1/txn", freed.to_string().as_bytes());
        assert_eq!(answer.expect("an answer").status, 200, "{name}");
        let lease = waiting.await.unwrap_or_else(|error| panic!("{name}: {error}"));

        // Somebody deletes it: the release fails in Consul, and is over.
        let delete = json!([{"KV": {"Verb": "delete", "Key": path}}]);
        operator.ask("PUT", "/v1/txn", delete.to_string().as_bytes()).expect("an answer");
        let released = dsync.send(Release(lease)).await;
        assert!(released.is_ok(), "{name}: {released:?}");
        assert!(safe.is_valid(), "{name}");
    }
    assert_eq!(operator.kv_get("names/safe").expect("held").session.as_deref(), Some(&*ours));
    assert!(pending(&mut lost).iter().all(|event| event.key != key("safe")));
    assert_eq!(dsync.send(Release(safe)).await, Ok(Released::Confirmed));
    operator.destroy_session(&theirs);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}
