//! Processes that are stopped and continued, or killed.

use std::time::{Duration, Instant};

use actix_dsync::Timing;

use crate::cases::{Case, Verdict};
use crate::network::{agent, before_the_fault};
use crate::record::boot_nanos;
use crate::stage::Stage;

/// `SIGSTOP` for 40 s, during which the second process acquires, then `SIGCONT`.
pub(crate) fn stopped(case: &Case) -> Verdict {
    // Consul 1.8 keeps a session for twice its TTL, which must fit into the 40 s.
    let timing = match case.run % 2 {
        0 => Timing::fast_failover(),
        _ => Timing::default()
            .with_session_ttl(Duration::from_secs(10))
            .with_lock_delay(Duration::from_secs(10)),
    };
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", &agent().url(), timing.clone());
    stage.wait_until_held(&[holder], Duration::from_secs(10));
    let second = stage.holder("second", &agent().url(), timing.clone());
    before_the_fault(case.run);
    let (fault, stopped) = (boot_nanos(), Instant::now());
    stage.stop(holder);
    stage.wait_until_held(&[second], timing.failover());
    let takeover = stage.since(second, fault);
    std::thread::sleep(Duration::from_secs(40).saturating_sub(stopped.elapsed()));
    stage.resume(holder);
    stage.wait_until_told(holder, takeover.len());
    stage.rest(second);
    stage.wait_until_held(&[holder], Duration::from_secs(10));
    stage.end(&agent().operator());
    let outcome = stage.outcome(takeover);
    outcome.report.assert_safe();
    Verdict::of(outcome)
}

/// `SIGKILL`: no process is left to be informed.
pub(crate) fn killed(case: &Case) -> Verdict {
    let timing = Timing::fast_failover();
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", &agent().url(), timing.clone());
    stage.wait_until_held(&[holder], Duration::from_secs(10));
    let second = stage.holder("second", &agent().url(), timing.clone());
    before_the_fault(case.run);
    let fault = boot_nanos();
    stage.kill(holder);
    stage.wait_until_held(&[second], timing.failover());
    let takeover = stage.since(second, fault);
    let again = stage.another(holder);
    std::thread::sleep(Duration::from_secs(2));
    stage.rest(second);
    stage.wait_until_held(&[again], Duration::from_secs(10));
    stage.end(&agent().operator());
    let outcome = stage.outcome(takeover);
    outcome.report.assert_safe();
    Verdict::of(outcome)
}
