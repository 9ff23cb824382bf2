//! PostgreSQL, through `psql`: two sessions, each a process with a pipe.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

/// A schema of its own in the PostgreSQL that the environment names.
struct Postgres {
    url: String,
    schema: String,
}

impl Postgres {
    /// `None`, with a line that says so, if the environment names no PostgreSQL.
    fn new(name: &str) -> Option<Self> {
        let Ok(url) = std::env::var("DSYNC_POSTGRES") else {
            eprintln!("SKIPPED: DSYNC_POSTGRES names no PostgreSQL; run scripts/test-postgres");
            return None;
        };
        let schema = format!("dsync_{}_{name}", std::process::id());
        let postgres = Self { url, schema };
        let mut session = postgres.connect();
        session.run(&format!("CREATE SCHEMA {};", postgres.schema)).unwrap();
        Some(postgres)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.connect().run(&format!("DROP SCHEMA {} CASCADE;", self.schema));
    }
}

/// A session of `psql`.
struct Psql {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    questions: u32,
}

static SESSIONS: AtomicU32 = AtomicU32::new(0);

impl Database for Postgres {
    type Session = Psql;

    const BEGIN: &str = "BEGIN;";

    fn connect(&self) -> Psql {
        let mut child = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", &self.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql is on the PATH");
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let questions = SESSIONS.fetch_add(1, Ordering::Relaxed) << 16;
        let mut session = Psql { child, to, from: BufReader::new(from), questions };
        session.run(&format!("SET search_path TO {};", self.schema)).unwrap();
        session
    }
}

impl Psql {
    /// Runs the statement; returns its output, and the number of its rows.
    fn ask(&mut self, sql: &str) -> Result<(Vec<String>, u64), String> {
        self.questions += 1;
        let end = format!("end-{}", self.questions);
        let closed = |error: std::io::Error| format!("psql has ended: {error}");
        let asked =
            format!("{sql}\n\\echo {end} :ERROR :ROW_COUNT :SQLSTATE :LAST_ERROR_MESSAGE\n");
        self.to.write_all(asked.as_bytes()).map_err(closed)?;
        self.to.flush().map_err(closed)?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).map_err(closed)? == 0 {
                return Err("the connection was closed".into());
            }
            let line = line.trim_end();
            let Some(state) = line.strip_prefix(&end) else {
                lines.push(line.to_owned());
                continue;
            };
            let mut words = state.trim_start().splitn(3, ' ');
            let failed = words.next() == Some("true");
            let rows = words.next().unwrap_or_default();
            if failed {
                return Err(words.next().unwrap_or_default().to_owned());
            }
            return Ok((lines, rows.parse().unwrap_or(0)));
        }
    }
}

impl Session for Psql {
    fn run(&mut self, sql: &str) -> Result<u64, String> {
        self.ask(sql).map(|(_, rows)| rows)
    }

    fn number(&mut self, sql: &str) -> Result<Option<i64>, String> {
        let (lines, _) = self.ask(sql)?;
        Ok(lines.first().map(|line| line.parse().unwrap()))
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn in_postgresql_a_late_statement_changes_no_row() {
    let Some(database) = Postgres::new("statement") else { return };
    a_late_statement_changes_no_row(&database);
}

#[test]
fn in_postgresql_a_transaction_parked_before_its_claim_is_refused() {
    let Some(database) = Postgres::new("claim") else { return };
    a_transaction_parked_before_its_claim_is_refused(&database);
}

#[test]
fn in_postgresql_a_check_that_locks_nothing_lets_the_late_owner_commit() {
    let Some(database) = Postgres::new("check") else { return };
    a_check_that_locks_nothing_lets_the_late_owner_commit(&database);
}

#[test]
fn in_postgresql_a_late_owner_parked_before_its_commit_cannot_commit_after_the_new_one() {
    let Some(database) = Postgres::new("commit") else { return };
    let (late_token, new_token) = late_and_new();
    let (mut late, mut new) = (database.connect(), database.connect());
    prepare(&mut new);
    late.run(&documented("bound")).unwrap();
    late.run(Postgres::BEGIN).unwrap();
    assert_eq!(late.run(&claim(late_token)), Ok(1));
    late.run(&note("late")).unwrap();
    // Parked before its commit. The new owner's claim waits until the server ends it.
    new.run(Postgres::BEGIN).unwrap();
    assert_eq!(new.run(&claim(new_token)), Ok(1));
    new.run(&note("new")).unwrap();
    new.run("COMMIT;").unwrap();
    assert!(late.run("COMMIT;").is_err(), "the late owner commits after the new one");
    assert_eq!((entries(&mut new, "new"), entries(&mut new, "late")), (Some(1), Some(0)));
}

#[test]
fn in_postgresql_a_claim_waits_for_the_late_commit_and_sees_what_it_wrote() {
    let Some(database) = Postgres::new("order") else { return };
    let (late_token, new_token) = late_and_new();
    let (mut late, mut new) = (database.connect(), database.connect());
    prepare(&mut new);
    late.run(Postgres::BEGIN).unwrap();
    assert_eq!(late.run(&claim(late_token)), Ok(1));
    late.run(&note("late")).unwrap();
    new.run(Postgres::BEGIN).unwrap();
    let waiting = beside(new, claim(new_token));
    thread::sleep(MOMENT);
    assert!(!waiting.is_finished(), "the claim passes an uncommitted one");
    late.run("COMMIT;").unwrap();
    let (mut new, claimed) = waiting.join().unwrap();
    assert_eq!(claimed, Ok(1));
    assert_eq!(entries(&mut new, "late"), Some(1));
    new.run("COMMIT;").unwrap();
    late.run(Postgres::BEGIN).unwrap();
    assert_eq!(late.run(&claim(late_token)), Ok(0), "and nothing comes after it");
}

#[test]
fn in_postgresql_a_late_claim_that_waited_for_the_new_one_is_refused() {
    let Some(database) = Postgres::new("waited") else { return };
    for (isolation, refused) in [
        ("READ COMMITTED", Ok(0)),
        ("REPEATABLE READ", Err("40001")),
        ("SERIALIZABLE", Err("40001")),
    ] {
        let (late_token, new_token) = late_and_new();
        let (mut late, mut new) = (database.connect(), database.connect());
        let _ = new.run("DROP TABLE IF EXISTS accounts, journal, fences, orders;");
        prepare(&mut new);
        assert_eq!(late.run(&claim(late_token)), Ok(1), "while it owned the lock");
        late.run(&format!("BEGIN ISOLATION LEVEL {isolation};")).unwrap();
        assert_eq!(balance(&mut late), Some(100));
        new.run(Postgres::BEGIN).unwrap();
        assert_eq!(new.run(&claim(new_token)), Ok(1));
        let waiting = beside(late, claim(late_token));
        thread::sleep(MOMENT);
        new.run("COMMIT;").unwrap();
        let (mut late, claimed) = waiting.join().unwrap();
        match (&claimed, refused) {
            (Ok(rows), Ok(none)) => assert_eq!(*rows, none, "{isolation}"),
            (Err(error), Err(state)) => assert!(error.contains(state), "{isolation}: {error}"),
            _ => panic!("{isolation}: {claimed:?}"),
        }
        late.run("ROLLBACK;").unwrap();
        assert_eq!(late.run(&claim(late_token)), Ok(0), "{isolation}, repeated");
    }
}
