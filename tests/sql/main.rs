//! Fencing tokens checked by SQL databases, with the statements of `docs/fencing.md`.
//!
//! SQLite is part of this binary. A PostgreSQL is used if `DSYNC_POSTGRES` names one, in the
//! form that `psql` takes; `scripts/test-postgres` starts one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod postgres;
mod sqlite;

use std::{thread, time::Duration};

use actix_dsync::{Acquire, Dsync, FencingToken, Key, embedded::Embedded};

/// A database that two owners use.
trait Database {
    type Session: Session + Send + 'static;

    fn connect(&self) -> Self::Session;

    /// The statement that begins a transaction with a claim.
    const BEGIN: &str;
}

/// A connection.
trait Session {
    /// Runs a statement; returns the number of changed rows.
    fn run(&mut self, sql: &str) -> Result<u64, String>;

    /// Reads one number, if a row is found.
    fn number(&mut self, sql: &str) -> Result<Option<i64>, String>;
}

/// The statement of the documentation that begins with this comment.
fn documented(name: &str) -> String {
    let page = include_str!("../../docs/fencing.md");
    let begin = format!("```sql\n-- {name}\n");
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no statement {name:?}"));
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// The documented statement for this token, with `$2` and `$3`.
fn statement(name: &str, token: FencingToken, two: &str, three: &str) -> String {
    let token = token.as_i64().to_string();
    documented(name).replace("$1", &token).replace("$2", two).replace("$3", three)
}

fn write(token: FencingToken) -> String {
    statement("write", token, "7", "10")
}

fn claim(token: FencingToken) -> String {
    statement("claim", token, "'accounts'", "")
}

/// The tokens of two successive owners of one lock, of which the first has lost it.
fn late_and_new() -> (FencingToken, FencingToken) {
    actix_rt::System::new().block_on(async {
        tokio::time::pause();
        let consul = Embedded::new();
        let owner = |name: &str, consul: &Embedded| {
            Dsync::builder(name).embedded(consul).on_current_arbiter().start().unwrap()
        };
        let late_link = consul.link();
        let (late, new) = (owner("late", &late_link), owner("new", &consul));
        let key = Key::new("accounts").unwrap();
        let lost = late.send(Acquire::new(key.clone())).await.unwrap();
        late_link.cut();
        let lease = new.send(Acquire::new(key)).await.unwrap();
        assert!(!lost.is_valid() && lease.is_valid() && lost.token() < lease.token());
        (lost.token(), lease.token())
    })
}

fn prepare(session: &mut impl Session) {
    for sql in [
        "CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL);",
        "CREATE TABLE journal (entry TEXT NOT NULL);",
        &documented("column"),
        &documented("table"),
        "INSERT INTO accounts (id, balance) VALUES (7, 100);",
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, charged BOOLEAN NOT NULL DEFAULT FALSE, \
         fence BIGINT NOT NULL DEFAULT 0);",
        "INSERT INTO orders (id) VALUES (7);",
    ] {
        session.run(sql).unwrap();
    }
}

fn balance(session: &mut impl Session) -> Option<i64> {
    session.number("SELECT balance FROM accounts WHERE id = 7;").unwrap()
}

fn entries(session: &mut impl Session, entry: &str) -> Option<i64> {
    let sql = format!("SELECT COUNT(*) FROM journal WHERE entry = '{entry}';");
    session.number(&sql).unwrap()
}

fn note(entry: &str) -> String {
    format!("INSERT INTO journal (entry) VALUES ('{entry}');")
}

/// A statement that checks the token refuses the late owner, and with `<` also the
/// repetition.
fn a_late_statement_changes_no_row<D: Database>(database: &D) {
    let (late_token, new_token) = late_and_new();
    let (mut late, mut new) = (database.connect(), database.connect());
    prepare(&mut new);
    assert_eq!(late.run(&write(late_token)), Ok(1), "while it owned the lock");
    assert_eq!(new.run(&write(new_token)), Ok(1));
    assert_eq!(new.run(&write(new_token)), Ok(1), "`<=` lets the owner write again");
    assert_eq!(late.run(&write(late_token)), Ok(0), "the late owner");
    assert_eq!(balance(&mut new), Some(70));

    let once = |token| statement("write once", token, "7", "10");
    assert_eq!(new.run(&once(new_token)), Ok(0), "`<` refuses the repetition");
    assert_eq!(late.run(&once(late_token)), Ok(0));
    assert_eq!(balance(&mut new), Some(70));

    let charge = |token| statement("write once for all owners", token, "7", "");
    assert_eq!(late.run(&charge(late_token)), Ok(1), "while it owned the lock");
    assert_eq!(new.run(&charge(new_token)), Ok(0), "the next owner finds the order charged");
}

/// The late owner is parked in its transaction before its claim.
fn a_transaction_parked_before_its_claim_is_refused<D: Database>(database: &D) {
    let (late_token, new_token) = late_and_new();
    let (mut late, mut new) = (database.connect(), database.connect());
    prepare(&mut new);
    new.run(D::BEGIN).unwrap();
    assert_eq!(new.run(&claim(new_token)), Ok(1));
    new.run(&note("new")).unwrap();
    new.run("COMMIT;").unwrap();

    late.run(D::BEGIN).unwrap();
    assert_eq!(late.run(&claim(late_token)), Ok(0), "the late owner");
    late.run("ROLLBACK;").unwrap();
    new.run(D::BEGIN).unwrap();
    assert_eq!(new.run(&claim(new_token)), Ok(1), "the owner claims again");
    new.run("COMMIT;").unwrap();
    assert_eq!((entries(&mut new, "new"), entries(&mut new, "late")), (Some(1), Some(0)));
}

/// Without a claim, the late owner commits after the new one: the tests can fail.
fn a_check_that_locks_nothing_lets_the_late_owner_commit<D: Database>(database: &D) {
    let (late_token, new_token) = late_and_new();
    let (mut late, mut new) = (database.connect(), database.connect());
    prepare(&mut new);
    let check = |token| statement("no protection", token, "'accounts'", "");
    assert_eq!(new.run(&claim(late_token)), Ok(1), "the late owner's, when it began");
    assert!(late.number(&check(late_token)).unwrap().is_some(), "it may write");
    // Now it is parked.
    assert_eq!(new.run(&claim(new_token)), Ok(1));
    new.run(&note("new")).unwrap();
    late.run(&note("late")).unwrap();
    assert_eq!(entries(&mut new, "late"), Some(1), "it wrote after the new owner");
}

/// Runs the statement in a thread of its own, and returns what to wait for.
fn beside<S: Session + Send + 'static>(
    mut session: S,
    sql: String,
) -> thread::JoinHandle<(S, Result<u64, String>)> {
    thread::spawn(move || {
        let done = session.run(&sql);
        (session, done)
    })
}

const MOMENT: Duration = Duration::from_millis(200);
