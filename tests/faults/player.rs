//! A process that contends for keys, writes to the protected resource while it may, and logs.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_dsync::{Acquire, Dsync, Error, Key, Lease, Release, Released, Timing, events::LockLost};
use futures::StreamExt as _;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::candidate;
use crate::random::Random;
use crate::record::{Log, Own, What, Write, boot_nanos};

/// A player's orders, in the variable [`ORDERS`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) keys: usize,
    pub(crate) role: Role,
    pub(crate) timing: Timing,
    pub(crate) seed: u64,
    pub(crate) events: PathBuf,
    pub(crate) resource: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Holds each key until it is lost.
    Hold,
    /// Holds each key for 1 to 10 s at a time.
    Turns,
    /// Holds each key for some milliseconds at a time, often with a short time limit.
    Short,
    /// Campaigns, and works while it leads.
    Campaign,
}

pub(crate) const ORDERS: &str = "DSYNC_PLAYER";
/// The order that ends all requests.
pub(crate) const REST: &str = "rest";

/// How often each held key is checked and written to.
pub(crate) const TICK: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_millis(200);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Plays until the input ends.
pub(crate) fn play(orders: &str) {
    // No player outlives the test, whatever happens to it.
    set_parent_process_death_signal(Some(Signal::KILL)).expect("Linux");
    let orders: Orders = serde_json::from_str(orders).expect("orders of this program's own");
    if orders.role == Role::Campaign {
        return actix_rt::System::new().block_on(candidate::run(orders));
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run(orders));
}

async fn run(orders: Orders) {
    let log = Arc::new(Log::append_to(&orders.events));
    let dsync = Dsync::builder(&orders.name)
        .address(&orders.url)
        .prefix(&orders.prefix)
        .timing(orders.timing.clone())
        .start()
        .expect("valid settings");
    let held = Held::default();

    let mut losses = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let telling = tokio::spawn({
        let (log, held) = (log.clone(), held.clone());
        async move {
            while let Some(lost) = losses.next().await {
                let own = Own { key: lost.key.to_string(), token: lost.token.as_u64() };
                let valid = held.says_valid(&own);
                let reason = serde_json::to_value(lost.reason).expect("a plain name");
                let reason = reason.as_str().expect("a plain name").to_owned();
                log.event(What::Lost { own, reason, valid });
            }
        }
    });
    std::thread::spawn({
        let (log, held) = (log.clone(), held.clone());
        let resource = Log::append_to(&orders.resource);
        move || look(&orders.name, &held, &log, &resource)
    });

    let (wants, wanted) = watch::channel(true);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..orders.keys {
        let mut contender = Contender {
            dsync: dsync.clone(),
            key: Key::new(number.to_string()).expect("a valid key"),
            role: orders.role,
            held: held.clone(),
            log: log.clone(),
            wanted: wanted.clone(),
            random: Random::new(orders.seed.wrapping_mul(1_000).wrapping_add(number as u64)),
        };
        tasks.spawn(async move { contender.contend().await });
    }
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        if line == REST {
            wants.send_replace(false);
            while tasks.join_next().await.is_some() {}
            log.event(What::Rests);
        }
    }
    let ended = dsync.shutdown(STOP_LIMIT).await;
    if let Err(error) = ended {
        log.event(What::Failed(format!("shutdown: {error}")));
    }
    tasks.join_all().await;
    drop(dsync);
    let _ = tokio::time::timeout(STOP_LIMIT, telling).await;
    log.event(What::Finished);
}

pub(crate) fn lines() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// The current leases of this process.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<HashMap<Own, Holding>>>);

#[derive(Debug)]
struct Holding {
    lease: Lease,
    /// The lease's deadline at the last check.
    deadline: u64,
    told: bool,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<Own, Holding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn says_valid(&self, own: &Own) -> bool {
        self.lock().get(own).is_some_and(|holding| holding.lease.is_valid())
    }
}

/// Checks the leases on a separate thread, so that no runtime's trouble hides their state.
fn look(name: &str, held: &Held, log: &Log, resource: &Log) {
    loop {
        std::thread::sleep(TICK);
        let mut lines = String::new();
        for (own, holding) in &mut *held.lock() {
            let asked = boot_nanos();
            if holding.lease.is_valid() {
                let left = u64::try_from(holding.lease.remaining().as_nanos()).unwrap_or(u64::MAX);
                holding.deadline = asked.saturating_add(left);
                lines.push_str(&Write::line(asked, name, own));
            } else if !holding.told {
                holding.told = true;
                log.event(What::Invalid { own: own.clone(), deadline: holding.deadline });
            }
        }
        if !lines.is_empty() {
            resource.write(&lines);
        }
    }
}

struct Contender {
    dsync: Dsync,
    key: Key,
    role: Role,
    held: Held,
    log: Arc<Log>,
    wanted: watch::Receiver<bool>,
    random: Random,
}

impl Contender {
    async fn contend(&mut self) {
        let mut wanted = self.wanted.clone();
        while *wanted.borrow_and_update() {
            let (request, patience) = (self.request(), self.patience());
            self.log.event(What::Asks(self.key.to_string()));
            // Dropped when nothing is wanted any more, and sometimes earlier.
            let lease = tokio::select! {
                _ = wanted.changed() => None,
                () = tokio::time::sleep(patience) => None,
                lease = self.dsync.send(request) => Some(lease),
            };
            if !matches!(lease, Some(Ok(_))) {
                self.log.event(What::Gone(self.key.to_string()));
            }
            match lease {
                None => {}
                Some(Ok(lease)) => self.hold(lease, &mut wanted).await,
                Some(Err(Error::Stopped)) => return,
                Some(Err(Error::WaitedTooLong { .. })) if self.role == Role::Short => {}
                Some(Err(error)) => {
                    self.log.event(What::Failed(error.to_string()));
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn request(&mut self) -> Acquire {
        let request = Acquire::new(self.key.clone());
        match self.role {
            Role::Short if self.random.below(3) == 0 => request.within(self.random.millis(1, 300)),
            _ => request,
        }
    }

    /// How long to wait for a reply.
    fn patience(&mut self) -> Duration {
        if self.role == Role::Short && self.random.below(3) == 0 {
            self.random.millis(1, 200)
        } else {
            Duration::from_secs(86_400)
        }
    }

    async fn hold(&mut self, lease: Lease, wanted: &mut watch::Receiver<bool>) {
        let own = Own { key: lease.key().to_string(), token: lease.token().as_u64() };
        let lost = lease.lost();
        self.log.event(What::Granted(own.clone()));
        let holding = Holding { lease, deadline: 0, told: false };
        self.held.lock().insert(own.clone(), holding);
        let kept = async {
            match self.role {
                Role::Hold | Role::Campaign => std::future::pending().await,
                Role::Turns => tokio::time::sleep(self.random.millis(1_000, 10_000)).await,
                Role::Short => tokio::time::sleep(self.random.millis(0, 60)).await,
            }
        };
        let kept = tokio::select! {
            _ = lost => false,
            _ = wanted.changed() => { wanted.mark_changed(); true }
            () = kept => true,
        };
        if kept {
            let Some(Holding { lease, .. }) = self.held.lock().remove(&own) else { return };
            self.log.event(What::Releases(own.clone()));
            match self.dsync.send(Release(lease)).await {
                Ok(Released::Confirmed) => self.log.event(What::Released { own, lost: false }),
                Ok(Released::AlreadyLost(_)) => self.log.event(What::Released { own, lost: true }),
                Err(error) => {
                    self.log.event(What::Failed(format!("release: {error}")));
                    self.log.event(What::Released { own, lost: true });
                }
            }
            // Give others a chance.
            let pause = if self.role == Role::Short { 20 } else { 500 };
            tokio::time::sleep(self.random.millis(0, pause)).await;
        } else {
            // Give the checking thread time to see the end.
            tokio::time::sleep(3 * TICK).await;
            self.held.lock().remove(&own);
        }
    }
}
