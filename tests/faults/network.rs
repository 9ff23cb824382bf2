//! Faults between a process and its agent.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_dsync::Timing;

use crate::cases::{Case, Verdict};
use crate::record::boot_nanos;
use crate::stage::{Outcome, Stage};
use crate::support::consul::Agent;
use crate::support::operator::Operator;
use crate::support::proxy::{Mode, Proxy};

/// One agent for all faults that do not affect it as a whole.
pub(crate) fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        Agent::builder().config("limits { http_max_conns_per_client = 10000 }").start()
    })
}

/// The timing, which alternates between runs.
pub(crate) fn timing_of(run: usize) -> Timing {
    if run.is_multiple_of(2) { Timing::fast_failover() } else { Timing::default() }
}

/// How long a waiter watches before the fault, which hits another phase of the renewals in each run.
pub(crate) fn before_the_fault(run: usize) {
    std::thread::sleep(Duration::from_millis(3_000 + 370 * (run as u64 % 7)));
}

pub(crate) fn black_hole(case: &Case) -> Verdict {
    through_a_proxy(case, Mode::BlackHole)
}

pub(crate) fn one_way(case: &Case) -> Verdict {
    through_a_proxy(case, Mode::OneWay)
}

fn through_a_proxy(case: &Case, mode: Mode) -> Verdict {
    let proxy = Proxy::to(agent().http_addr());
    let cut = |is_cut| proxy.set(if is_cut { mode } else { Mode::Forward });
    Verdict::of(cut_off(case, [&proxy.url(), &agent().url()], &agent().operator(), cut))
}

/// The holder's network goes silent; the second process acquires; the network comes back.
pub(crate) fn cut_off(
    case: &Case,
    [holder, second]: [&str; 2],
    operator: &Operator,
    cut: impl Fn(bool),
) -> Outcome {
    let timing = timing_of(case.run);
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", holder, timing.clone());
    stage.wait_until_held(&[holder], Duration::from_secs(10));
    let second = stage.holder("second", second, timing.clone());
    before_the_fault(case.run);
    let fault = boot_nanos();
    cut(true);
    stage.wait_until_held(&[second], timing.failover());
    let takeover = stage.since(second, fault);
    // The network stays silent for a while, and the held bytes arrive late.
    std::thread::sleep(Duration::from_secs(5));
    cut(false);
    stage.rest(second);
    stage.wait_until_held(&[holder], Duration::from_secs(20));
    stage.end(operator);
    let outcome = stage.outcome(takeover);
    outcome.report.assert_safe();
    outcome
}

/// Connections are reset, and later refused, for 5 s each: nothing is lost.
pub(crate) fn reset_and_refuse(case: &Case) -> Verdict {
    let proxy = Proxy::to(agent().http_addr());
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", &proxy.url(), Timing::default());
    stage.wait_until_held(&[holder], Duration::from_secs(10));
    let second = stage.holder("second", &agent().url(), Timing::default());
    before_the_fault(case.run);
    let tokens = stage.tokens(holder);
    for mode in [Mode::Reset, Mode::Refuse] {
        proxy.set(mode);
        std::thread::sleep(Duration::from_secs(5));
        proxy.set(Mode::Forward);
        std::thread::sleep(Timing::default().lease());
        assert_eq!(stage.tokens(holder), tokens, "{mode:?}");
    }
    stage.rest(holder);
    stage.wait_until_held(&[second], Duration::from_secs(5));
    stage.end(&agent().operator());
    let outcome = stage.outcome(Vec::new());
    outcome.report.assert_safe();
    assert_eq!(outcome.report.losses.get("deadline_passed"), None);
    assert_eq!(outcome.report.losses.get("session_gone"), None);
    Verdict::of(outcome)
}

/// Another process takes every connection that the agent allows per address.
pub(crate) fn no_connections_left(case: &Case) -> Verdict {
    const LIMIT: usize = 200;
    let agent = Agent::start();
    let mut stage = Stage::new(case.fault);
    let holder = stage.holder("holder", &agent.url(), Timing::default());
    stage.wait_until_held(&[holder], Duration::from_secs(10));
    before_the_fault(case.run);
    let tokens = stage.tokens(holder);

    let over = AtomicBool::new(false);
    let (asked, refused) = std::thread::scope(|scope| {
        let hog = scope.spawn(|| hog(agent.http_addr(), LIMIT, &over));
        let end = Instant::now() + Duration::from_secs(if case.trial { 180 } else { 40 });
        let (mut asked, mut refused) = (0, 0);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs(1));
            asked += 1;
            refused += usize::from(agent.operator().ask("GET", "/v1/status/leader", b"").is_err());
        }
        over.store(true, Ordering::Relaxed);
        let most = hog.join().expect("the hog");
        assert!(most > LIMIT / 2, "it had {most} connections");
        (asked, refused)
    });
    assert!(refused > asked * 3 / 4, "only {refused} of {asked} requests found no connection");
    assert_eq!(stage.tokens(holder), tokens);
    let second = stage.holder("second", &agent.url(), Timing::default());
    std::thread::sleep(Duration::from_secs(3));
    stage.rest(holder);
    stage.wait_until_held(&[second], Duration::from_secs(10));
    stage.end(&agent.operator());
    let outcome = stage.outcome(Vec::new());
    outcome.report.assert_safe();
    assert_eq!(outcome.report.losses.keys().collect::<Vec<_>>(), Vec::<&String>::new());
    Verdict::of(outcome)
}

/// Keeps as many connections as it can get; returns the largest number.
pub(crate) fn hog(agent: SocketAddr, limit: usize, over: &AtomicBool) -> usize {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        // The agent closes a connection beyond the limit at once.
        streams.retain_mut(|stream| {
            matches!(stream.read(&mut [0; 512]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        most = most.max(streams.len());
        for _ in streams.len()..limit + 5 {
            let Ok(mut stream) = TcpStream::connect(agent) else { break };
            // An unfinished request.
            let _ = stream.write_all(b"GET /v1/kv/none HTTP/1.1\r\n");
            if stream.set_nonblocking(true).is_ok() {
                streams.push(stream);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    most
}
