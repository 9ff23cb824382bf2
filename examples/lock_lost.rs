//! An actor that holds a lock and reacts to its loss.
//!
//! ```sh
//! cargo run --example lock_lost
//! ```
//!
//! The network goes silent. The actor stops writing at the deadline, before anyone else can have the
//! lock, and takes the lock again once the network is back.

use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _,
};
use actix_dsync::{
    Acquire, Dsync, Key, Lease, LossReason, Timing,
    embedded::Embedded,
    events::{LockLost, Subscribe},
};

/// Writes as long as it holds the lock.
struct Writer {
    dsync: Dsync,
    key: Key,
    lease: Option<Lease>,
    writes: u32,
    began: Instant,
}

impl Writer {
    fn say(&self, what: &str) {
        println!("{:5.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Waits for the lock without blocking the actor.
    fn acquire(&mut self, ctx: &mut Context<Self>) {
        let request = self.dsync.send(Acquire::new(self.key.clone()));
        let granted = request.into_actor(self).map(|granted, writer, _| match granted {
            Ok(lease) => {
                writer.say(&format!("holds the lock, token {}", lease.token()));
                writer.lease = Some(lease);
            }
            Err(error) => writer.say(&format!("no lock: {error}")),
        });
        ctx.spawn(granted);
    }
}

impl Actor for Writer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.acquire(ctx);
        ctx.run_interval(Duration::from_millis(100), |writer, _| {
            // The clock decides, even if `LockLost` has not arrived yet.
            if writer.lease.as_ref().is_some_and(Lease::is_valid) {
                writer.writes += 1; // fenced by the lease's token
            }
        });
    }
}

impl Handler<LockLost> for Writer {
    type Result = ();

    fn handle(&mut self, lost: LockLost, ctx: &mut Context<Self>) {
        self.lease = None;
        if lost.reason == LossReason::Shutdown {
            return; // this process ends
        }
        self.say(&format!(
            "lost after {} writes: {}; waits for it again",
            self.writes, lost.reason
        ));
        self.acquire(ctx);
    }
}

/// Asks for the number of writes.
#[derive(Message)]
#[rtype(result = "u32")]
struct Writes;

impl Handler<Writes> for Writer {
    type Result = u32;

    fn handle(&mut self, _: Writes, _: &mut Context<Self>) -> u32 {
        self.writes
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let consul = Embedded::new().strict_ttl(true);
    let timing = Timing::fast_failover();
    let dsync = Dsync::builder("writer").embedded(&consul).timing(timing).start()?;
    let key = Key::new("ledger")?;
    let began = Instant::now();
    let writer =
        Writer { dsync: dsync.clone(), key: key.clone(), lease: None, writes: 0, began }.start();
    // The subscription does not keep the actor alive; `writer` does.
    dsync.send(Subscribe::to(writer.clone().recipient::<LockLost>()).key(key)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    println!("{:5.1} s  the network goes silent", began.elapsed().as_secs_f64());
    consul.cut();
    tokio::time::sleep(Duration::from_secs(12)).await;
    println!("{:5.1} s  the network is back", began.elapsed().as_secs_f64());
    consul.mend();
    tokio::time::sleep(Duration::from_secs(4)).await;

    println!("{} writes in all, none without the lock", writer.send(Writes).await?);
    dsync.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
