//! SQLite, in write-ahead mode, as services use it.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension};

use super::*;

struct Sqlite {
    folder: PathBuf,
}

impl Sqlite {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dsync-sql-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Database for Sqlite {
    type Session = Connection;

    const BEGIN: &str = "BEGIN IMMEDIATE;";

    fn connect(&self) -> Connection {
        let connection = Connection::open(self.folder.join("db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        connection
    }
}

impl Session for Connection {
    fn run(&mut self, sql: &str) -> Result<u64, String> {
        self.execute(sql, []).map(|rows| rows as u64).map_err(|error| error.to_string())
    }

    fn number(&mut self, sql: &str) -> Result<Option<i64>, String> {
        self.query_row(sql, [], |row| row.get(0)).optional().map_err(|error| error.to_string())
    }
}

#[test]
fn in_sqlite_a_late_statement_changes_no_row() {
    a_late_statement_changes_no_row(&Sqlite::new("statement"));
}

#[test]
fn in_sqlite_a_transaction_parked_before_its_claim_is_refused() {
    a_transaction_parked_before_its_claim_is_refused(&Sqlite::new("claim"));
}

#[test]
fn in_sqlite_a_check_that_locks_nothing_lets_the_late_owner_commit() {
    a_check_that_locks_nothing_lets_the_late_owner_commit(&Sqlite::new("check"));
}

#[test]
fn in_sqlite_a_late_owner_parked_before_its_commit_is_never_overtaken() {
    let (late_token, new_token) = late_and_new();
    let database = Sqlite::new("commit");
    let (mut late, mut new) = (database.connect(), database.connect());
    prepare(&mut new);
    late.run(Sqlite::BEGIN).unwrap();
    assert_eq!(late.run(&claim(late_token)), Ok(1));
    late.run(&note("late")).unwrap();
    // Parked before its commit: the new owner cannot begin.
    let refused = new.run(Sqlite::BEGIN).unwrap_err();
    assert!(refused.contains("locked"), "{refused}");
    late.run("COMMIT;").unwrap();
    new.run(Sqlite::BEGIN).unwrap();
    assert_eq!(new.run(&claim(new_token)), Ok(1));
    assert_eq!(entries(&mut new, "late"), Some(1), "the new owner sees what was written");
    new.run("COMMIT;").unwrap();
    late.run(Sqlite::BEGIN).unwrap();
    assert_eq!(late.run(&claim(late_token)), Ok(0), "and nothing comes after it");
}

#[test]
fn in_sqlite_a_plain_transaction_that_read_before_the_new_owner_wrote_fails_at_its_claim() {
    let (late_token, new_token) = late_and_new();
    let database = Sqlite::new("plain");
    let (mut late, mut new) = (database.connect(), database.connect());
    prepare(&mut new);
    late.run("BEGIN;").unwrap();
    assert_eq!(balance(&mut late), Some(100));
    assert_eq!(new.run(&claim(new_token)), Ok(1));
    let refused = late.run(&claim(late_token)).unwrap_err();
    assert!(refused.contains("locked"), "{refused}");
    late.run("ROLLBACK;").unwrap();
}
