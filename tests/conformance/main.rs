//! The embedded Consul compared with a real one: each case sends the same HTTP requests
//! to both, and any difference fails the test.
//!
//! The environment variable `CONSUL_BIN` names the real one, otherwise `consul` on the
//! `PATH` is used; `scripts/test` provides one.
//!
//! There is no newer Consul to compare with. An embedded agent like a newer one is compared
//! with an embedded one like the older: only the listed cases differ.

mod client;
mod keys;
mod paths;
mod rights;
mod script;
mod sessions;
mod specified;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other tests; this one needs a part of it")]
mod support;
mod timed;
mod txns;
mod waits;

use std::{fmt::Write as _, net::SocketAddr, thread, time::Duration};

use actix_dsync::embedded::Embedded;
use script::Script;
use support::stalls::Stalls;

/// A case: its name and its requests.
type Case = (&'static str, fn(&mut Script));

/// The id of no session.
const NO_SESSION: &str = "11111111-1111-1111-1111-111111111111";

/// The machine stalled if a thread slept so much longer than asked.
const STALL: Duration = Duration::from_millis(10);

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

/// The transcripts of a case against two servers, played concurrently.
fn transcripts<S: FnOnce(&mut Script) + Send + 'static>(
    addresses: [SocketAddr; 2],
    prefix: &str,
    steps: impl Fn(usize) -> S,
) -> [Vec<String>; 2] {
    let play = |place: usize| {
        let (mut script, steps) = (Script::new(addresses[place], prefix), steps(place));
        thread::spawn(move || {
            steps(&mut script);
            script.finish()
        })
    };
    [play(0), play(1)].map(|played| match played.join() {
        Ok(transcript) => transcript,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Runs each case against both servers. Cases that measure time run concurrently, and up to three
/// times each if the machine stalled meanwhile: a reply may then come in another second.
fn agree(cases: &[Case], are_timed: bool) {
    let agent = support::consul::Agent::start();
    let embedded = Embedded::new().node(agent.node());
    let server = embedded.serve("127.0.0.1:0").expect("a free port");
    let addresses = [agent.http_addr(), server.address()];
    addresses.into_iter().for_each(warm_up);
    let run = |place: usize, (name, steps): Case| {
        let mut found = None;
        for round in 0..if are_timed { 3 } else { 1 } {
            let (prefix, stalls) = (format!("case{place}-{round}"), Stalls::watch());
            let [real, embedded] = transcripts(addresses, &prefix, |_| steps);
            found = difference(name, &real, &embedded);
            match &found {
                Some(report) if stalls.longest() > STALL => eprintln!("{report}"),
                _ => break,
            }
        }
        found
    };
    let reports: Vec<String> = if are_timed {
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

/// So that no case is the first to write a key or to create a session.
fn warm_up(address: SocketAddr) {
    let mut script = Script::new(address, "warm-up");
    script.session("A", "");
    script.put("kv/<p>a", "");
    script.delete("kv/<p>a");
}

fn untimed() -> Vec<Case> {
    [sessions::CASES, paths::CASES, keys::CASES, txns::CASES, waits::CASES].concat()
}

#[test]
fn the_embedded_agent_replies_and_wakes_readers_as_consul_does() {
    agree(&untimed(), false);
}

/// The cases in which an agent like Consul 1.21 differs from one like 1.8.7.
const NEWER: [&str; 2] = ["size limits", "wake: a missing key"];

#[test]
fn a_newer_agent_differs_from_an_older_one_only_where_its_documents_say() {
    let agents = [false, true].map(|newer| Embedded::new().node("one").newer(newer));
    let servers = agents.map(|agent| agent.serve("127.0.0.1:0").expect("a free port"));
    let addresses = [servers[0].address(), servers[1].address()];
    addresses.into_iter().for_each(warm_up);
    let differences = untimed().into_iter().enumerate().filter_map(|(place, (name, steps))| {
        let [older, newer] = transcripts(addresses, &format!("case{place}"), |_| steps);
        let difference = difference(name, &older, &newer)?;
        eprint!("{difference}");
        Some(name)
    });
    assert_eq!(differences.collect::<Vec<_>>(), NEWER);
}

#[test]
fn the_embedded_agent_keeps_the_times_that_consul_keeps() {
    agree(timed::CASES, true);
}
