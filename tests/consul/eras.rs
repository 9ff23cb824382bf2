//! A store whose indexes begin lower again, and rows that remember the tokens of the former one.

use std::time::Duration;

use actix_dsync::{
    Dsync, FencingToken, Lease,
    events::{Filter, LockLost},
};
use rusqlite::Connection;

use crate::support::consul::Agent;
use crate::support::operator::Operator;

use super::locks::{acquire, at, next, short_delay};

/// A row that refuses tokens below the largest that it has seen, by the statements of the docs.
struct Row(Connection);

impl Row {
    fn new() -> Self {
        let row = Connection::open_in_memory().unwrap();
        row.execute("CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL);", [])
            .unwrap();
        row.execute(&documented("column"), []).unwrap();
        row.execute("INSERT INTO accounts (id, balance) VALUES (7, 100);", []).unwrap();
        Self(row)
    }

    /// Whether the row accepts a write.
    fn accepts(&self, token: FencingToken) -> bool {
        let (write, token) = (documented("write"), token.as_i64().to_string());
        let write = write.replace("$1", &token).replace("$2", "7").replace("$3", "10");
        self.0.execute(&write, []).unwrap() == 1
    }
}

fn documented(name: &str) -> String {
    let page = include_str!("../../docs/fencing.md");
    let (_, rest) = page.split_once(&format!("```sql\n-- {name}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

fn runtime(agent: &Agent, era: u8) -> Dsync {
    at(agent.url(), "eras").timing(short_delay()).era(era).start().unwrap()
}

/// Raises the store's index.
fn work(operator: &Operator) {
    (0..200).for_each(|number| operator.kv_put(&format!("work/{number}"), b"x"));
}

/// An owner of the first era, with its runtime, that has written after much other work.
async fn an_owner_that_wrote(agent: &Agent, row: &Row) -> (Dsync, Lease) {
    work(&agent.operator());
    let dsync = runtime(agent, 0);
    let lease = acquire(&dsync, "k").await;
    assert!(row.accepts(lease.token()));
    (dsync, lease)
}

/// The old owner has written; the store is another one. Without a new era its owners are refused; in
/// the new era they write at once, and the old owner never does.
async fn only_the_next_era_writes(row: &Row, old: &Lease, agent: &Agent) {
    let same = runtime(agent, 0);
    let refused = acquire(&same, "k").await;
    assert!(refused.token() < old.token(), "{:?} {:?}", refused.token(), old.token());
    assert!(!row.accepts(refused.token()), "the row remembers the former store");
    drop(refused);
    same.shutdown(Duration::from_secs(5)).await.unwrap();

    let next = runtime(agent, 1);
    let owner = acquire(&next, "k").await;
    assert!(row.accepts(owner.token()), "{:?}", owner.token());
    assert!(!row.accepts(old.token()), "the old owner");
    drop(owner);
    let successor = acquire(&next, "k").await;
    assert!(row.accepts(successor.token()));
    assert!(!row.accepts(old.token()));
}

#[tokio::test]
async fn in_the_next_era_owners_write_at_once_after_consul_came_back_empty_and_old_ones_never() {
    let (agent, row) = (Agent::start(), Row::new());
    let (former, old) = an_owner_that_wrote(&agent, &row).await;
    let mut losses = former.events::<LockLost>(Filter::All);
    agent.restart();
    next(&mut losses, Duration::from_secs(30)).await;
    assert!(!old.is_valid());
    only_the_next_era_writes(&row, &old, &agent).await;
}

#[tokio::test]
async fn in_the_next_era_owners_write_at_once_after_new_servers_got_an_old_snapshot() {
    let (agent, row) = (Agent::start(), Row::new());
    let snapshot = agent.operator().ask("GET", "/v1/snapshot", b"").unwrap().body;
    let (_former, old) = an_owner_that_wrote(&agent, &row).await;
    agent.kill();
    let other = Agent::start();
    restore(&other, &snapshot);
    only_the_next_era_writes(&row, &old, &other).await;
}

/// Servers that are running when they get a snapshot keep counting.
#[tokio::test]
async fn a_snapshot_restored_into_the_same_servers_needs_no_new_era() {
    let (agent, row) = (Agent::start(), Row::new());
    let snapshot = agent.operator().ask("GET", "/v1/snapshot", b"").unwrap().body;
    let (_former, old) = an_owner_that_wrote(&agent, &row).await;
    restore(&agent, &snapshot);
    let same = runtime(&agent, 0);
    let owner = acquire(&same, "k").await;
    assert!(owner.token() > old.token());
    assert!(row.accepts(owner.token()));
    assert!(!row.accepts(old.token()));
}

fn restore(agent: &Agent, snapshot: &[u8]) {
    let restored = agent.operator().ask("PUT", "/v1/snapshot", snapshot).unwrap();
    assert_eq!(restored.status, 200, "{}", restored.text());
}
