//! Faults of the servers: killed, frozen, without a quorum.

use std::time::{Duration, Instant};

use actix_dsync::Timing;

use crate::cases::{Case, Verdict};
use crate::network::{before_the_fault, timing_of};
use crate::record::boot_nanos;
use crate::stage::{Outcome, Stage, Who};
use crate::support::consul::Cluster;

/// The time limit of an election, with a large margin.
const ELECTION: Duration = Duration::from_secs(60);

/// A server other than these two.
fn other(than: [usize; 2]) -> usize {
    (0..3).find(|server| !than.contains(server)).expect("three servers")
}

/// The leader is stopped. In even runs, the holder talks to the leader, which is continued while the
/// second process holds. In odd runs, the holder talks to a follower, and the leader is not continued
/// before the end.
pub(crate) fn leader_frozen(case: &Case, cluster: &Cluster) -> Verdict {
    cluster.wait_until_whole();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let third = other([leader, follower]);
    let timing = timing_of(case.run / 2);
    let mut stage = Stage::new(case.fault);
    let on_leader = case.run.is_multiple_of(2);
    let url = cluster.url(if on_leader { leader } else { follower });
    let holder = stage.holder("holder", &url, timing.clone());
    stage.wait_until_held(&[holder], ELECTION);
    let second = stage.holder("second", &cluster.url(third), timing.clone());
    before_the_fault(case.run);
    let fault = boot_nanos();
    cluster.freeze(leader);
    if on_leader {
        stage.wait_until_held(&[second], ELECTION + timing.failover());
    } else {
        // A short election costs the holder nothing.
        std::thread::sleep(timing.lease());
        stage.wait_until_held(&[holder, second], ELECTION + timing.failover());
        hand_over(&mut stage, holder, second);
    }
    let takeover = stage.since(second, fault);
    if on_leader {
        cluster.thaw(leader);
        stage.wait_until_told(holder, takeover.len());
        stage.rest(second);
        stage.wait_until_held(&[holder], ELECTION);
    }
    stage.end(&cluster.operator(follower));
    if !on_leader {
        cluster.thaw(leader);
    }
    let outcome = stage.outcome(takeover);
    outcome.report.assert_safe();
    Verdict::of(outcome)
}

/// `SIGKILL` of the leader; both processes talk to followers.
pub(crate) fn leader_killed(case: &Case, cluster: &Cluster) -> Verdict {
    cluster.wait_until_whole();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let third = other([leader, follower]);
    let timing = Timing::default();
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", &cluster.url(follower), timing.clone());
    stage.wait_until_held(&[holder], ELECTION);
    let second = stage.holder("second", &cluster.url(third), timing.clone());
    before_the_fault(case.run);
    cluster.kill(leader);
    cluster.leader();
    // Either the key was kept, or it was lost and one of them has it again.
    std::thread::sleep(timing.lease());
    stage.wait_until_held(&[holder, second], timing.failover());
    hand_over(&mut stage, holder, second);
    cluster.start_again(&[leader]);
    stage.end(&cluster.operator(follower));
    let outcome = stage.outcome(Vec::new());
    outcome.report.assert_safe();
    Verdict::of(outcome)
}

fn hand_over(stage: &mut Stage, holder: Who, second: Who) {
    stage.rest(holder);
    stage.wait_until_held(&[second], ELECTION);
}

/// The server to which the holders talk is killed for good; the others talk to another one.
pub(crate) fn server_killed_for_good(case: &Case, cluster: &Cluster) -> Verdict {
    cluster.wait_until_whole();
    let (leader, lost) = (cluster.leader(), cluster.follower());
    let timings = [15, 30, 60].map(|seconds| {
        let span = Duration::from_secs(seconds);
        Timing::default().with_session_ttl(span).with_lock_delay(span)
    });
    let mut stages = timings.map(|timing| {
        let mut stage = Stage::new(case.fault);
        let holder = stage.holder("holder", &cluster.url(lost), timing.clone());
        stage.wait_until_held(&[holder], ELECTION);
        let second = stage.holder("second", &cluster.url(leader), timing.clone());
        (stage, second, timing)
    });
    before_the_fault(case.run);
    let fault = boot_nanos();
    cluster.kill(lost);
    let mut takeover = Vec::new();
    for (stage, second, timing) in &mut stages {
        stage.wait_until_held(&[*second], timing.failover());
        takeover.extend(stage.since(*second, fault));
    }
    // Only now: the dead server's name must not come back during the test.
    let mut outcomes = Vec::new();
    for (stage, _, _) in &mut stages {
        stage.end(&cluster.operator(leader));
        outcomes.push(stage.outcome(Vec::new()));
    }
    cluster.start_again(&[lost]);
    outcomes.iter().for_each(|outcome| outcome.report.assert_safe());
    outcomes[0].takeover = takeover;
    Verdict::Played(outcomes)
}

/// All servers are killed and started again.
pub(crate) fn all_servers_restarted(case: &Case, cluster: &Cluster) -> Verdict {
    outage(case, cluster, &[0, 1, 2], Duration::ZERO)
}

/// Two of three servers are away for 25 s.
pub(crate) fn quorum_lost(case: &Case, cluster: &Cluster) -> Verdict {
    let leader = cluster.leader();
    let followers: Vec<_> = (0..3).filter(|server| *server != leader).collect();
    outage(case, cluster, &followers, Duration::from_secs(25))
}

fn outage(case: &Case, cluster: &Cluster, killed: &[usize], length: Duration) -> Verdict {
    cluster.wait_until_whole();
    let leader = cluster.leader();
    let timing = Timing::default();
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", &cluster.url(leader), timing.clone());
    stage.wait_until_held(&[holder], ELECTION);
    let second = stage.holder("second", &cluster.url(leader), timing.clone());
    before_the_fault(case.run);
    killed.iter().for_each(|server| cluster.kill(*server));
    std::thread::sleep(length);
    cluster.start_again(killed);
    cluster.wait_until_whole();
    stage.wait_until_held(&[holder, second], ELECTION + timing.failover());
    if length > timing.lease() {
        stage.wait_until_told(holder, crate::stage::KEYS);
    }
    hand_over(&mut stage, holder, second);
    stage.end(&cluster.operator(cluster.leader()));
    let outcome = stage.outcome(Vec::new());
    outcome.report.assert_safe();
    Verdict::of(outcome)
}

/// The patient timing survives faults of the leader: no loss, the same tokens.
pub(crate) fn patient(case: &Case, cluster: &Cluster) -> Verdict {
    let faults: &[bool] = if case.trial { &[true, false, true] } else { &[true, false] };
    let outcomes = faults.iter().map(|&kill| {
        // On a busy machine, servers may elect a leader later than any timing rides out.
        let outcome = (0..3).find_map(|_| lose_a_leader_patiently(case, cluster, kill));
        outcome.expect("one of three elections in time")
    });
    Verdict::Played(outcomes.collect())
}

/// `None` if the election took longer than the timing rides out.
fn lose_a_leader_patiently(case: &Case, cluster: &Cluster, kill: bool) -> Option<Outcome> {
    let timing = Timing::patient();
    cluster.wait_until_whole();
    let leader = cluster.leader();
    // A session ends with the server through which it was created.
    let holder_server = (0..3).find(|server| *server != leader).expect("two");
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", &cluster.url(holder_server), timing.clone());
    stage.wait_until_held(&[holder], ELECTION);
    let second = stage.holder("second", &cluster.url(holder_server), timing.clone());
    before_the_fault(case.run);
    let tokens = stage.tokens(holder);
    let fault = Instant::now();
    if kill {
        cluster.kill(leader);
    } else {
        cluster.freeze(leader);
    }
    cluster.leader();
    let is_in_time = fault.elapsed() < timing.rides_out();
    std::thread::sleep(Duration::from_secs(10));
    let after = stage.tokens(holder);
    if kill {
        cluster.start_again(&[leader]);
    } else {
        cluster.thaw(leader);
    }
    cluster.wait_until_whole();
    std::thread::sleep(Duration::from_secs(5));
    if is_in_time {
        assert_eq!(after, tokens, "leader away, killed: {kill}");
        assert_eq!(stage.tokens(holder), tokens, "leader back, killed: {kill}");
        hand_over(&mut stage, holder, second);
    }
    stage.end(&cluster.operator(holder_server));
    let outcome = stage.outcome(Vec::new());
    outcome.report.assert_safe();
    is_in_time.then(|| {
        assert!(outcome.report.losses.is_empty(), "{:?}", outcome.report.losses);
        outcome
    })
}
