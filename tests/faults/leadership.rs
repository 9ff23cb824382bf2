//! Faults of the leader of three candidates: who leads next, and when.

#[path = "../../benches/support/raw.rs"]
#[allow(dead_code, reason = "shared with the benches, which use more of it")]
mod raw;

use std::time::{Duration, Instant};

use actix_dsync::Timing;

use self::raw::Raw;
use crate::candidate::{JOB, LEADER, RESIGN};
use crate::cases::{Case, Verdict};
use crate::network::{agent, before_the_fault};
use crate::player::Role;
use crate::record::{Event, What, boot_nanos};
use crate::stage::{NOISE, Outcome, Stage, Who};
use crate::support::eventually;
use crate::support::proxy::{Mode, Proxy};

/// The keys of the leader and of its singleton.
const OWNED: usize = 2;
const LIMIT: Duration = Duration::from_secs(10);

/// Three candidates, each with its own network.
struct Election {
    stage: Stage,
    candidates: Vec<(Who, Proxy)>,
}

impl Election {
    fn begin(case: &Case) -> Self {
        let mut stage = Stage::new(case.fault);
        let mut candidate = |name| {
            let proxy = Proxy::to(agent().http_addr());
            let timing = Timing::fast_failover();
            (stage.player(name, &proxy.url(), timing, Role::Campaign, OWNED), proxy)
        };
        let candidates = ["anna", "ben", "chloe"].map(&mut candidate).into();
        let election = Self { stage, candidates };
        election.wait(None, LIMIT);
        before_the_fault(case.run);
        election
    }

    /// Waits until a candidate other than the given one leads and works.
    fn wait(&self, but: Option<Who>, limit: Duration) {
        let others = self.candidates.iter().map(|(who, _)| *who).filter(|who| Some(*who) != but);
        self.stage.wait_until_held(&others.collect::<Vec<_>>(), limit);
    }

    fn leader(&self) -> (Who, &Proxy) {
        let leads = |who| self.stage.tokens(who).contains_key(LEADER);
        let found = self.candidates.iter().find(|(who, _)| leads(*who));
        found.map(|(who, proxy)| (*who, proxy)).expect("somebody leads")
    }

    /// The time from the fault to the moment at which another candidate led.
    fn takeover(&self, fault: u64) -> Duration {
        let since = self.stage.held(self.leader().0)[LEADER].1.saturating_sub(fault);
        Duration::from_nanos(since)
    }

    /// The time from the reported end of the former term to the next election.
    fn leaderless(&self, former: Who) -> Duration {
        // Its last term ended before it was logged.
        let end = || {
            let events = self.stage.events(former);
            let term = events.iter().rev().find_map(|event| match &event.what {
                What::Granted(own) if own.key == LEADER => Some(own),
                _ => None,
            })?;
            let ends =
                |event: &&Event| matches!(&event.what, What::Released { own, .. } if own == term);
            events.iter().find(ends).map(|event| event.at)
        };
        self.takeover(eventually(NOISE, end).expect("a term that was resigned"))
    }

    /// Ends everything in good order; returns the checker's result.
    fn end(mut self, case: &Case, takeover: Vec<Duration>, paused: Option<(Who, u64)>) -> Outcome {
        let timeless: Vec<_> =
            takeover.iter().map(|it| format!("{:.3}", it.as_secs_f64())).collect();
        println!("{}: leaderless for {} s", case.fault, timeless.join(", "));
        self.stage.end(&agent().operator());
        self.assert_one_works(paused);
        let outcome = self.stage.outcome(takeover);
        outcome.report.assert_safe();
        assert_eq!(outcome.report.overtaken_writes, 0, "a singleton wrote after its successor");
        outcome
    }

    /// The new leader resigns, which adds a change whose end is logged in time. A leader that was
    /// killed or paused does not log its end in time.
    fn end_after_another(
        mut self,
        case: &Case,
        takeover: Duration,
        paused: Option<(Who, u64)>,
    ) -> Outcome {
        let second = self.leader().0;
        self.stage.say(second, RESIGN);
        self.wait(Some(second), LIMIT);
        self.end(case, vec![takeover], paused)
    }

    /// Asserts that a singleton's life ends before the next begins. If its process was killed, or did
    /// not run from some moment on, only its writes count.
    fn assert_one_works(&self, paused: Option<(Who, u64)>) {
        let mut lives = Vec::new();
        for (who, _) in &self.candidates {
            let mut begun = Vec::new();
            for event in self.stage.events(*who) {
                match event.what {
                    What::Granted(own) if own.key == JOB => begun.push((own, event.at)),
                    What::Released { own, .. } if own.key == JOB => {
                        let place = begun.iter().position(|(begun, _)| *begun == own);
                        let (own, from) = begun.swap_remove(place.expect("begun before it ended"));
                        let froze = paused.is_some_and(|(it, at)| it == *who && from <= at);
                        if !froze {
                            lives.push((from, event.at, own.token));
                        }
                    }
                    _ => {}
                }
            }
        }
        lives.sort_unstable();
        assert!(lives.len() >= 2, "nothing was handed on: {lives:?}");
        for two in lives.windows(2) {
            assert!(two[0].1 <= two[1].0 && two[0].2 <= two[1].2, "two work: {two:?}");
        }
    }
}

/// `SIGKILL`: the session must expire.
pub(crate) fn killed(case: &Case) -> Verdict {
    let mut election = Election::begin(case);
    let leader = election.leader().0;
    let fault = boot_nanos();
    election.stage.kill(leader);
    election.wait(Some(leader), Timing::fast_failover().failover());
    // Time that the dead process did not log does not count as held.
    election.candidates.retain(|(who, _)| *who != leader);
    let takeover = election.takeover(fault);
    Verdict::of(election.end_after_another(case, takeover, None))
}

/// `SIGSTOP` until another leads, then `SIGCONT`.
pub(crate) fn stopped(case: &Case) -> Verdict {
    let mut election = Election::begin(case);
    let leader = election.leader().0;
    let (fault, stopped) = (boot_nanos(), Instant::now());
    election.stage.stop(leader);
    election.wait(Some(leader), Timing::fast_failover().failover());
    std::thread::sleep(Duration::from_secs(25).saturating_sub(stopped.elapsed()));
    election.stage.resume(leader);
    election.stage.wait_until_told(leader, 1);
    let takeover = election.takeover(fault);
    Verdict::of(election.end_after_another(case, takeover, Some((leader, fault))))
}

/// The leader's network goes silent until another leads.
pub(crate) fn cut_off(case: &Case) -> Verdict {
    let election = Election::begin(case);
    let (leader, proxy) = election.leader();
    let fault = boot_nanos();
    proxy.set(Mode::BlackHole);
    election.wait(Some(leader), Timing::fast_failover().failover());
    std::thread::sleep(Duration::from_secs(3));
    proxy.set(Mode::Forward);
    election.stage.wait_until_told(leader, 1);
    let takeover = election.takeover(fault);
    Verdict::of(election.end_after_another(case, takeover, None))
}

/// `SIGTERM` to each leader in turn, like a rolling restart.
pub(crate) fn told_to_end(case: &Case) -> Verdict {
    let mut election = Election::begin(case);
    let mut leaderless = Vec::new();
    for _ in 0..3 {
        let leader = election.leader().0;
        election.stage.terminate(leader);
        election.wait(Some(leader), LIMIT);
        leaderless.push(election.leaderless(leader));
        let another = election.stage.another(leader);
        let place = election.candidates.iter().position(|(who, _)| *who == leader);
        election.candidates[place.expect("a candidate")].0 = another;
        std::thread::sleep(Duration::from_secs(2));
    }
    compare(case, &leaderless);
    Verdict::of(election.end(case, leaderless, None))
}

/// Leaders resign one after another.
pub(crate) fn resigns(case: &Case) -> Verdict {
    let mut election = Election::begin(case);
    let mut leaderless = Vec::new();
    for _ in 0..10 {
        let leader = election.leader().0;
        election.stage.say(leader, RESIGN);
        election.wait(Some(leader), LIMIT);
        leaderless.push(election.leaderless(leader));
        // The cool-down lasts this long.
        std::thread::sleep(Duration::from_secs(4));
    }
    compare(case, &leaderless);
    Verdict::of(election.end(case, leaderless, None))
}

/// The time from a release to a waiter's acquisition with the raw calls, for comparison.
fn compare(case: &Case, leaderless: &[Duration]) {
    let floor = median((0..21).map(|round| floor(case, round)).collect());
    let ours = median(leaderless.to_vec());
    println!(
        "{}: leaderless for {:.2} ms in the middle of {}, {:.1} times the {:.2} ms of raw calls",
        case.fault,
        ours.as_secs_f64() * 1e3,
        leaderless.len(),
        ours.as_secs_f64() / floor.as_secs_f64(),
        floor.as_secs_f64() * 1e3,
    );
}

fn floor(case: &Case, round: usize) -> Duration {
    let address = agent().http_addr();
    let [mut holder, mut waiter, mut reads] = [(); 3].map(|()| Raw::new(address));
    let (former, latter) = (holder.session("0s"), waiter.session("0s"));
    let key = format!("raw-{}-{}-{round}", case.fault.replace(' ', "-"), std::process::id());
    assert!(holder.acquire(&former, &key));
    reads.watch(&key);
    std::thread::sleep(Duration::from_millis(20));
    let began = Instant::now();
    holder.release(&former, &key);
    reads.receive();
    assert!(waiter.acquire(&latter, &key));
    let took = began.elapsed();
    for session in [former, latter] {
        holder.destroy(&session);
    }
    agent().operator().kv_delete(&key);
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
