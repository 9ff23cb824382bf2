//! The embedded Consul compared with a real one: each case sends the same HTTP requests
//! to both, and any difference fails the test.
//!
//! The environment variable `CONSUL_BIN` names the real one, otherwise `consul` on the
//! `PATH` is used; `scripts/test` provides one.

mod client;
mod keys;
mod paths;
mod script;
mod sessions;
mod specified;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other tests; this one needs a part of it")]
mod support;
mod timed;
mod txns;
mod waits;

use std::{fmt::Write as _, thread};

use actix_dsync::embedded::Embedded;
use script::Script;

/// A case: its name and its requests.
type Case = (&'static str, fn(&mut Script));

/// The id of no session.
const NO_SESSION: &str = "11111111-1111-1111-1111-111111111111";

/// A session without a lock-delay.
const NO_DELAY: &str = r#"{"LockDelay":"0s"}"#;

/// A report of the differences between two runs of a case, if there are any.
fn difference(name: &str, real: &[String], embedded: &[String]) -> Option<String> {
    if real == embedded {
        return None;
    }
    let mut report = format!("--- {name}\n");
    for at in 0..real.len().max(embedded.len()) {
        let line = |of: &[String]| of.get(at).cloned().unwrap_or_else(|| "(nothing)".into());
        let (expected, found) = (line(real), line(embedded));
        if expected != found {
            let _ = writeln!(report, "    Consul:   {expected}\n    embedded: {found}");
        }
    }
    Some(report)
}

/// Runs each case against both servers, concurrently if `together` is set.
fn agree(cases: &[Case], together: bool) {
    let agent = support::consul::Agent::start();
    let embedded = Embedded::new().node(agent.node());
    let server = embedded.serve("127.0.0.1:0").expect("a free port");
    let addresses = [agent.http_addr(), server.address()];
    for address in addresses {
        // Warm up, so that no case is the first to write a key or to create a session.
        let mut script = Script::new(address, "warm-up");
        script.session("A", "");
        script.put("kv/<p>a", "");
        script.delete("kv/<p>a");
    }
    let run = |place: usize, (name, steps): Case| {
        let transcripts = addresses.map(|address| {
            thread::spawn(move || {
                let mut script = Script::new(address, &format!("case{place}"));
                steps(&mut script);
                script.finish()
            })
        });
        let [real, embedded] = transcripts.map(|thread| thread.join());
        match (real, embedded) {
            (Ok(real), Ok(embedded)) => difference(name, &real, &embedded),
            _ => Some(format!("--- {name}\n    a run failed, see above\n")),
        }
    };
    let reports: Vec<String> = if together {
        thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = cases
                .iter()
                .enumerate()
                .map(|(place, case)| scope.spawn(move || run(place, *case)))
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
        })
    } else {
        cases.iter().enumerate().filter_map(|(place, case)| run(place, *case)).collect()
    };
    assert!(
        reports.is_empty(),
        "{} of {} cases differ:\n{}",
        reports.len(),
        cases.len(),
        reports.concat()
    );
}

fn untimed() -> Vec<Case> {
    [sessions::CASES, paths::CASES, keys::CASES, txns::CASES, waits::CASES].concat()
}

#[test]
fn replies_and_wake_ups_of_both_agree() {
    agree(&untimed(), false);
}

#[test]
fn the_timing_of_both_agrees() {
    agree(timed::CASES, true);
}
