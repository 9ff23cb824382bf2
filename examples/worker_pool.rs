//! A rate-limited worker pool: five workers have mails to send, and the mail server takes two at a time.
//!
//! ```sh
//! cargo run --example worker_pool
//! ```
//!
//! Each worker stands for a process.

#[path = "support/mod.rs"]
mod support;

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_dsync::{AcquirePermit, Dsync, Error, Key, Release};

use support::Store;

const WORKERS: [&str; 5] = ["anna", "ben", "chloe", "dan", "eve"];
const MAILS: usize = 3;
/// The most workers that may use the mail server at the same time.
const LIMIT: u32 = 2;
const WORK: Duration = Duration::from_millis(200);

/// The mail server, which counts its clients.
#[derive(Default)]
struct MailServer {
    clients: Cell<u32>,
    most: Cell<u32>,
}

/// A connection to the mail server. It is closed when the work is done, or stopped.
struct Connection<'a>(&'a MailServer);

impl<'a> Connection<'a> {
    fn open(server: &'a MailServer) -> Self {
        server.clients.set(server.clients.get() + 1);
        server.most.set(server.most.get().max(server.clients.get()));
        Self(server)
    }

    async fn send(self) {
        tokio::time::sleep(WORK).await;
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get() - 1);
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::find();
    let (server, began) = (Rc::new(MailServer::default()), Instant::now());
    let mut workers = Vec::new();
    for name in WORKERS {
        let dsync = store.replica("mailer")?.start()?;
        dsync.ready().await?;
        let (server, worker) = (server.clone(), dsync.clone());
        let task = actix::spawn(async move { work(name, &worker, &server, began).await });
        workers.push((dsync, task));
    }
    for (dsync, task) in workers {
        task.await??;
        dsync.shutdown(Duration::from_secs(5)).await?;
    }
    println!("at most {} workers sent at the same time", server.most.get());
    Ok(())
}

async fn work(name: &str, dsync: &Dsync, server: &MailServer, began: Instant) -> Result<(), Error> {
    let mut mail = 1;
    while mail <= MAILS {
        let request = AcquirePermit::new(Key::new("mail-server")?, LIMIT);
        let permit = match dsync.send(request.within(Duration::from_secs(30))).await {
            Ok(permit) => permit,
            Err(Error::NoPermit { limit, .. }) => {
                println!("{name}: {limit} others send; trying again");
                continue;
            }
            Err(error) => return Err(error),
        };
        // Stopped at once if the permit is lost. The mail is then sent again.
        if permit.run(Connection::open(server).send()).await.is_ok() {
            let seconds = began.elapsed().as_secs_f64();
            println!("{seconds:4.1} s  {name} sent mail {mail}, permit {}", permit.token());
            mail += 1;
        }
        let _ = dsync.send(Release(permit)).await?;
    }
    Ok(())
}
