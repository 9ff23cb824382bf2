//! Three replicas of a service and one leader.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_dsync::{
    Campaign, Dsync, LossReason, Observe, Resign, Tenure,
    events::{Deposed, Elected, Events, Filter, LeaderChanged},
};

use crate::locks::{
    Stretch, agent, assert_exclusive, at, boot_nanos, is_of_the_session, key, next, pending,
    runtime, short_delay,
};
use crate::support::stalls::Stalls;

/// The time limit for anything that does not wait for a lock-delay.
const LATE: Duration = Duration::from_secs(20);

/// One replica.
struct Replica {
    dsync: Dsync,
    tenure: Tenure,
    elected: Events<Elected>,
    deposed: Events<Deposed>,
    changed: Events<LeaderChanged>,
}

impl Replica {
    async fn new(prefix: &str) -> Self {
        let builder = at(agent().url(), prefix).timing(short_delay());
        let dsync = builder.start().expect("valid settings");
        let (elected, deposed) = (dsync.events(Filter::All), dsync.events(Filter::All));
        let changed = dsync.events(Filter::All);
        let tenure = dsync.send(Campaign::on(key("leader"))).await.expect("a campaign");
        Self { dsync, tenure, elected, deposed, changed }
    }

    fn session(prefix: &str) -> Option<String> {
        agent().operator().kv_get(&format!("{prefix}/leader"))?.session
    }

    /// Waits until the replica reports the leader that Consul reports.
    async fn agrees(&self, prefix: &str) {
        let deadline = Instant::now() + LATE;
        loop {
            let (sees, is) = (self.tenure.leader().map(|l| l.session), Self::session(prefix));
            if sees.is_some() && sees == is {
                return;
            }
            assert!(Instant::now() < deadline, "sees {sees:?}, and {is:?} leads");
            let _ = tokio::time::timeout(Duration::from_millis(100), self.tenure.changed()).await;
        }
    }
}

async fn three(prefix: &str) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::new(prefix).await);
    }
    replicas
}

/// The leading replica; asserts that exactly one leads.
fn leader(replicas: &[Replica]) -> usize {
    let leads: Vec<usize> =
        (0..replicas.len()).filter(|&id| replicas[id].tenure.is_leader()).collect();
    assert_eq!(leads.len(), 1, "{leads:?}");
    leads[0]
}

async fn elected(replicas: &[Replica]) -> usize {
    let waits = replicas.iter().map(|replica| Box::pin(replica.tenure.elected()));
    tokio::time::timeout(LATE, futures::future::select_all(waits)).await.expect("an election").1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_replicas_one_leads_the_others_know_it_and_whoever_goes_is_followed() {
    let prefix = "three";
    let mut replicas = three(prefix).await;
    elected(&replicas).await;
    let first = leader(&replicas);
    for replica in &replicas {
        replica.agrees(prefix).await;
    }
    for (id, replica) in replicas.iter_mut().enumerate() {
        let told = next(&mut replica.changed, LATE).await;
        assert_eq!(told.leader.map(|leader| leader.session), Replica::session(prefix), "{id}");
    }

    // An operator ends the leader's session.
    let term = replicas[first].tenure.term().expect("it leads");
    let session = Replica::session(prefix).expect("a leader");
    let stalls = Stalls::watch();
    agent().operator().destroy_session(&session);
    let first_token = term.token();
    let told = next(&mut replicas[first].deposed, LATE).await;
    assert!(!term.is_valid() && replicas[first].tenure.token() != Some(term.token()));
    assert_eq!(told.token, term.token());
    assert!(is_of_the_session(told.reason, &stalls), "{told:?}");
    let second = elected(&replicas).await;
    assert!(replicas[second].tenure.token() > Some(term.token()));
    for replica in &replicas {
        replica.agrees(prefix).await;
    }

    // The leader hands over and does not win again at once.
    let term = replicas[second].tenure.term().expect("it leads");
    let resign = Resign::of(&replicas[second].tenure).cool_down(Duration::from_secs(5));
    let resigned = replicas[second].dsync.send(resign);
    assert!(!replicas[second].tenure.is_leader());
    let _ = resigned.await.expect("an answer").expect("it led");
    let third = elected(&replicas).await;
    assert_ne!(third, second, "who hands over leaves it to the others");
    assert_eq!(term.lost().await, LossReason::Resigned);

    // The leader is shut down.
    let gone = replicas.remove(third);
    gone.dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    elected(&replicas).await;
    for replica in &mut replicas {
        replica.agrees(prefix).await;
        let (elected, deposed) = (pending(&mut replica.elected), pending(&mut replica.deposed));
        // One of them was removed above.
        let ended =
            deposed.len() + usize::from(elected.first().is_some_and(|e| e.token == first_token));
        let leads = usize::from(replica.tenure.is_leader());
        assert_eq!(elected.len(), ended + leads, "{elected:?} {deposed:?}");
    }
    for replica in replicas {
        replica.dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
    assert_eq!(agent().operator().kv_keys(&format!("{prefix}/leader")), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_hand_leadership_around_never_lead_at_the_same_time() {
    let replicas = three("around").await;
    let stretches = Arc::new(Mutex::new(Vec::new()));
    let turns = replicas.iter().map(|replica| {
        let (dsync, tenure, stretches) =
            (replica.dsync.clone(), replica.tenure.clone(), stretches.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                let term = tenure.elected().await;
                let (began, first) = (Instant::now(), boot_nanos());
                let mut last = first;
                while began.elapsed() < Duration::from_millis(20) {
                    let before = boot_nanos();
                    if !term.is_valid() || !tenure.is_leader() {
                        break;
                    }
                    last = before;
                    tokio::task::yield_now().await;
                }
                let token = term.token().as_u64();
                stretches.lock().expect("no panic").push(Stretch { token, first, last });
                let resign = Resign::of(&tenure).cool_down(Duration::from_millis(50));
                dsync.send(resign).await.expect("an answer");
            }
        })
    });
    for turn in turns.collect::<Vec<_>>() {
        tokio::time::timeout(LATE * 3, turn).await.expect("progress").expect("no panic");
    }
    let all = std::mem::take(&mut *stretches.lock().expect("no panic"));
    assert_eq!(all.len(), 30);
    assert_exclusive(all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_follows_a_lock_that_is_not_ours() {
    let operator = agent().operator();
    let dsync = runtime("theirs");
    let observer = dsync.send(Observe(key("lock"))).await.expect("an observer");
    let settings = serde_json::json!({ "Name": "elsewhere", "TTL": "60s", "LockDelay": "0s" });
    for _ in 0..2 {
        let session = operator.create_session(&settings).expect("an agent that runs");
        assert!(operator.acquire("theirs/lock", &session, b"10.0.0.9:80"));
        let seen = async {
            while observer.leader().map(|leader| leader.session) != Some(session.clone()) {
                observer.changed().await;
            }
        };
        tokio::time::timeout(LATE, seen).await.expect("the leader is seen");
        assert_eq!(&*observer.leader().expect("it is known").value, b"10.0.0.9:80");
        operator.destroy_session(&session);
        let gone = async { while observer.changed().await.leader.is_some() {} };
        tokio::time::timeout(LATE, gone).await.expect("its end is seen");
    }
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}
