//! A sharded consumer: three replicas share six shards, and each shard has one consumer at a time.
//!
//! ```sh
//! cargo run --example shards
//! ```
//!
//! Each replica holds at most three shards, so that two of them can hold all. When one ends, the
//! others take over its shards.

#[path = "support/mod.rs"]
mod support;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use actix_dsync::{Dsync, Error, Inspect, Key, Lease, TryAcquire};

use support::Store;

const SHARDS: u32 = 6;
/// The most shards of one replica: enough that the replicas can spare one of theirs.
const MOST: usize = 3;
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Who consumes each shard, for the output.
type Owners = Rc<RefCell<BTreeMap<u32, &'static str>>>;

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::find();
    let owners = Owners::default();
    let mut replicas = Vec::new();
    for name in ["anna", "ben", "chloe"] {
        let dsync = store.replica("consumer")?.start()?;
        dsync.ready().await?;
        actix::spawn(share(name, dsync.clone(), owners.clone()));
        replicas.push(dsync);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("shares: {:?}", owners.borrow());

    println!("anna ends");
    replicas.remove(0).shutdown(STOP_LIMIT).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("shares: {:?}", owners.borrow());
    for dsync in replicas {
        dsync.shutdown(STOP_LIMIT).await?;
    }
    Ok(())
}

/// Takes free shards, one a round, until this replica has enough or is shut down.
async fn share(name: &'static str, dsync: Dsync, owners: Owners) {
    let mine = Rc::new(RefCell::new(0));
    loop {
        for shard in 0..SHARDS {
            if *mine.borrow() == MOST {
                break;
            }
            let Ok(key) = Key::join(["shards", &shard.to_string()]) else { return };
            // A read is cheaper for Consul than an attempt that is refused.
            if let Ok(Some(_)) = dsync.send(Inspect(key.clone())).await {
                continue;
            }
            match dsync.send(TryAcquire::new(key)).await {
                Ok(lease) => {
                    *mine.borrow_mut() += 1;
                    let (mine, owners) = (mine.clone(), owners.clone());
                    actix::spawn(async move {
                        consume(name, shard, lease, owners).await;
                        *mine.borrow_mut() -= 1;
                    });
                    // One a round, so that the others get their share.
                    break;
                }
                // Another replica has it, or its lock-delay runs.
                Err(Error::Held { .. } | Error::LockDelay { .. }) => {}
                Err(Error::Stopped) => return,
                Err(error) => println!("{name}: {error}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Consumes a shard until its lock is lost or the replica ends.
async fn consume(name: &'static str, shard: u32, lease: Lease, owners: Owners) {
    println!("  {name} consumes shard {shard}, fenced by {}", lease.token());
    owners.borrow_mut().insert(shard, name);
    let messages = async {
        loop {
            // Read a message, and write its result with the lease's token.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Ends with the lock: there is always another message.
    if let Err::<(), _>(lost) = lease.run(messages).await {
        println!("  {name} no longer consumes shard {shard}: {}", lost.reason);
    }
    // Another replica may have taken it already.
    let mut owners = owners.borrow_mut();
    if owners.get(&shard) == Some(&name) {
        owners.remove(&shard);
    }
}
