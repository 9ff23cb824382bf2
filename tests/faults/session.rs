//! Sessions that end early while their process cannot learn of it.

use std::time::Duration;

use actix_dsync::Timing;

use crate::cases::{Case, Verdict};
use crate::network::{agent, before_the_fault};
use crate::record::boot_nanos;
use crate::stage::{Outcome, Stage, Who};
use crate::support::consul::{Agent, Cluster};
use crate::support::operator::Operator;
use crate::support::proxy::{Mode, Proxy};

/// How the process is kept from learning of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deaf {
    BlackHole,
    Stopped,
}

pub(crate) fn destroyed_while_cut_off(case: &Case) -> Verdict {
    let outcome = destroyed(case, Deaf::BlackHole, Timing::default());
    outcome.report.assert_safe();
    Verdict::of(outcome)
}

pub(crate) fn destroyed_while_stopped(case: &Case) -> Verdict {
    let outcome = destroyed(case, Deaf::Stopped, Timing::default());
    outcome.report.assert_safe();
    Verdict::of(outcome)
}

/// The documented exception: a short lock-delay that the lease does not take into account. It also
/// shows that these tests can find two holders.
pub(crate) fn destroyed_under_fast_failover(case: &Case) -> Verdict {
    let outcome = destroyed(case, Deaf::BlackHole, Timing::fast_failover());
    let report = &outcome.report;
    assert_eq!(report.overlaps.len(), outcome.keys, "the exception has gone: {report:?}");
    assert!(report.late_writes > 0, "nothing was left for the token to stop");
    assert!(report.disorder.is_empty(), "{:?}", report.disorder);
    report.assert_told();
    Verdict::of(outcome)
}

fn destroyed(case: &Case, deaf: Deaf, timing: Timing) -> Outcome {
    let proxy = Proxy::to(agent().http_addr());
    let operator = agent().operator();
    let mut stage = Stage::new(case.fault);
    let [holder, second] = two(&mut stage, [&proxy.url(), &agent().url()], timing.clone());
    before_the_fault(case.run);
    let session = session_of(&stage, &operator);
    deafen(&mut stage, holder, &proxy, deaf);
    operator.destroy_session(&session);
    let fault = boot_nanos();
    stage.wait_until_held(&[second], timing.lock_delay);
    let takeover = stage.since(second, fault);
    match deaf {
        Deaf::BlackHole => {
            stage.wait_until_told(holder, takeover.len());
            proxy.set(Mode::Forward);
        }
        Deaf::Stopped => stage.resume(holder),
    }
    stage.wait_until_told(holder, takeover.len());
    stage.rest(second);
    stage.wait_until_held(&[holder], Duration::from_secs(20));
    stage.end(&operator);
    let after_delay = takeover.iter().map(|took| took.saturating_sub(timing.lock_delay)).collect();
    Outcome { after_delay, ..stage.outcome(takeover) }
}

fn two(stage: &mut Stage, [holder, second]: [&str; 2], timing: Timing) -> [Who; 2] {
    let holder = stage.holder("holder", holder, timing.clone());
    stage.wait_until_held(&[holder], Duration::from_secs(30));
    [holder, stage.holder("second", second, timing.clone())]
}

fn session_of(stage: &Stage, operator: &Operator) -> String {
    let key = format!("{}/0", stage.prefix());
    operator.kv_get(&key).and_then(|entry| entry.session).expect("held")
}

pub(crate) fn agent_leaves_while_cut_off(case: &Case, cluster: &Cluster) -> Verdict {
    agent_leaves(case, cluster, Deaf::BlackHole)
}

pub(crate) fn agent_leaves_while_stopped(case: &Case, cluster: &Cluster) -> Verdict {
    agent_leaves(case, cluster, Deaf::Stopped)
}

/// The holder's server leaves in good order, which ends its sessions at once.
fn agent_leaves(case: &Case, cluster: &Cluster, deaf: Deaf) -> Verdict {
    cluster.wait_until_whole();
    let leaver = cluster.follower();
    let proxy = Proxy::to(cluster.http_addr(leaver));
    let operator = cluster.operator(cluster.leader());
    let timing = Timing::default();
    let mut stage = Stage::new(case.fault);
    let second = cluster.url(cluster.leader());
    let [holder, second] = two(&mut stage, [&proxy.url(), &second], timing.clone());
    before_the_fault(case.run);
    deafen(&mut stage, holder, &proxy, deaf);
    let fault = boot_nanos();
    let left = cluster.operator(leaver).limit(Duration::from_secs(30));
    let answer = left.ask("PUT", "/v1/agent/leave", b"").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    stage.wait_until_held(&[second], timing.failover());
    let takeover = stage.since(second, fault);
    if deaf == Deaf::Stopped {
        stage.resume(holder);
    }
    stage.wait_until_told(holder, takeover.len());
    stage.end(&operator);
    let outcome = stage.outcome(takeover);
    outcome.report.assert_safe();
    let longest = outcome.takeover.iter().max().expect("keys");
    assert!(*longest < timing.session_ttl * 2, "it was the TTL that ended it: {longest:?}");
    Verdict::of(outcome)
}

fn deafen(stage: &mut Stage, who: Who, proxy: &Proxy, how: Deaf) {
    match how {
        Deaf::BlackHole => proxy.set(Mode::BlackHole),
        Deaf::Stopped => stage.stop(who),
    }
    std::thread::sleep(Duration::from_millis(200));
}

/// The agent comes back with an empty store. Consul has then broken its contract, and a lock can be
/// held twice; still, every loss is reported, and the locks keep working.
pub(crate) fn agent_restarted_empty(case: &Case) -> Verdict {
    let agent = Agent::start();
    // Make the tokens of both stores differ, since the logs could not distinguish their ownerships.
    for number in 0..300 {
        agent.operator().kv_put(&format!("before/{number}"), b"x");
    }
    let timing = Timing::default();
    let mut stage = Stage::new(case.fault);
    let [holder, second] = two(&mut stage, [&agent.url(), &agent.url()], timing.clone());
    before_the_fault(case.run);
    let fault = boot_nanos();
    agent.restart();
    stage.wait_until_told(holder, crate::stage::KEYS);
    stage.wait_until_held(&[holder, second], timing.failover());
    let takeover = stage.since(second, fault);
    stage.rest(holder);
    stage.wait_until_held(&[second], Duration::from_secs(10));
    stage.end(&agent.operator());
    let outcome = stage.outcome(takeover);
    outcome.report.assert_told();
    Verdict::of(outcome)
}
