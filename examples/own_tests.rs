//! A service that tests its own failure handling, with a Consul in the test and no waiting.
//!
//! ```sh
//! cargo test --example own_tests
//! ```
//!
//! `cargo run --example own_tests` prints how to run the tests.

use std::time::Duration;

use actix_dsync::{Acquire, Dsync, Error, FencingToken, Key, Release, Released};

/// The service's own code: imports a file under a lock, and stops if the lock is lost.
#[allow(dead_code, reason = "the tests use it")]
async fn import(
    dsync: &Dsync,
    file: &str,
    rows: impl Future<Output = u64>,
) -> Result<(u64, FencingToken), Refused> {
    let key = Key::join(["imports", file])?;
    let lease = dsync.send(Acquire::new(key).within(Duration::from_secs(30))).await?;
    let rows = lease.run(rows).await.map_err(|_| Refused::Stopped)?;
    let token = lease.token();
    match dsync.send(Release(lease)).await? {
        Released::Confirmed => Ok((rows, token)),
        _ => Err(Refused::Stopped),
    }
}

/// Why there was no import.
#[derive(Debug, PartialEq)]
#[allow(dead_code, reason = "the tests use it")]
enum Refused {
    /// The lock was lost: the import is incomplete.
    Stopped,
    /// There was no lock.
    NoLock(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::NoLock(error)
    }
}

fn main() {
    println!("cargo test --example own_tests");
}

#[cfg(test)]
mod tests {
    use actix_dsync::{ConfigError, embedded::Embedded};

    use super::*;

    /// A replica on Tokio's clock, which the tests pause: 15 s pass in microseconds.
    fn replica(consul: &Embedded) -> Result<Dsync, ConfigError> {
        Dsync::builder("importer").embedded(consul).on_current_arbiter().start()
    }

    #[actix::test]
    async fn an_import_stops_when_the_network_is_silent() {
        tokio::time::pause();
        let consul = Embedded::new();
        let dsync = replica(&consul).expect("the settings are valid");
        let rows = async {
            consul.cut();
            tokio::time::sleep(Duration::from_secs(60)).await;
            1
        };
        assert_eq!(import(&dsync, "a.csv", rows).await, Err(Refused::Stopped));
    }

    #[actix::test]
    async fn another_replica_imports_after_the_first_with_a_larger_token() {
        tokio::time::pause();
        let consul = Embedded::new();
        let (one, two) = (replica(&consul.link()), replica(&consul.link()));
        let (one, two) = (one.expect("valid"), two.expect("valid"));
        let first = import(&one, "a.csv", async { 1 }).await.expect("nothing is wrong");
        let second = import(&two, "a.csv", async { 1 }).await.expect("nothing is wrong");
        assert!(first.1 < second.1);
    }

    #[actix::test]
    async fn without_consul_an_import_is_refused_in_time() {
        tokio::time::pause();
        let consul = Embedded::new();
        consul.cut();
        let dsync = replica(&consul).expect("the settings are valid");
        let began = tokio::time::Instant::now();
        let refused = import(&dsync, "a.csv", async { 1 }).await;
        assert!(matches!(refused, Err(Refused::NoLock(Error::Unavailable { .. }))), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(31));
    }
}
