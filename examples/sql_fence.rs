//! A database that refuses the write of a holder that has lost its lock without noticing.
//!
//! ```sh
//! cargo run --example sql_fence
//! ```
//!
//! The first holder is cut off and paused in the middle of its work, another one takes over, and then
//! the first one writes. The table is SQLite; the statement is the same for PostgreSQL.

use std::time::Duration;

use actix_dsync::{Acquire, Dsync, FencingToken, Key, Timing, embedded::Embedded};
use rusqlite::{Connection, params};

/// One statement checks the token, `?1`, and writes. `<=` lets one owner write several times.
const WRITE: &str = "
    UPDATE accounts SET balance = ?3, fence = ?1
    WHERE id = ?2 AND fence <= ?1
";
const ACCOUNT: i64 = 7;

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Connection::open_in_memory()?;
    database.execute_batch(
        "CREATE TABLE accounts (
            id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, fence BIGINT NOT NULL DEFAULT 0
        );
        INSERT INTO accounts (id, balance) VALUES (7, 100);",
    )?;

    let consul = Embedded::new().strict_ttl(true);
    let first_link = consul.link();
    let (first, second) = (replica(&first_link)?, replica(&consul.link())?);

    let key = Key::new("accounts/7")?;
    let late = first.send(Acquire::new(key.clone())).await?;
    println!("the first holder has token {}, reads the balance, and is cut off", late.token());
    let seen = balance(&database)?;
    first_link.cut();

    let lease = second.send(Acquire::new(key)).await?;
    println!("the second holder has token {}", lease.token());
    write(&database, "second", balance(&database)? - 30, lease.token())?;

    // A holder that asks would know. This one was paused after it had asked.
    println!("the first holder continues; its lease is valid: {}", late.is_valid());
    write(&database, "first", seen - 50, late.token())?;
    println!("balance: {}", balance(&database)?);

    first_link.mend();
    drop((late, lease));
    first.shutdown(Duration::from_secs(5)).await?;
    second.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// A replica with a network of its own.
fn replica(link: &Embedded) -> Result<Dsync, actix_dsync::ConfigError> {
    Dsync::builder("bank").embedded(link).timing(Timing::fast_failover()).start()
}

fn balance(database: &Connection) -> rusqlite::Result<i64> {
    database.query_row("SELECT balance FROM accounts WHERE id = 7", [], |row| row.get(0))
}

fn write(
    database: &Connection,
    who: &str,
    balance: i64,
    fence: FencingToken,
) -> rusqlite::Result<()> {
    match database.execute(WRITE, params![fence.as_i64(), ACCOUNT, balance])? {
        // The account exists, so there is only one other cause.
        0 => println!("  {who}: refused, a newer owner has written; stop"),
        _ => println!("  {who}: written, balance {balance}"),
    }
    Ok(())
}
