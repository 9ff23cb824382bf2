//! Dropped packets, in the test's own network namespace.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::cases::{Case, Verdict};
use crate::network::cut_off;
use crate::stage::Outcome;
use crate::support::consul::Agent;

/// The variable that names the case to play inside.
pub(crate) const INSIDE: &str = "DSYNC_INSIDE";
const OUTCOME: &str = "outcome: ";
/// The agent's second address: packets to and from it are dropped.
const CUT: &str = "127.0.0.2";

/// Sets up a loopback device with a queue that accepts nothing.
const PREPARE: &str = "ip link set lo up \
    && tc qdisc add dev lo root handle 1: htb default 1 \
    && tc class add dev lo parent 1: classid 1:1 htb rate 100gbit quantum 200000 \
    && tc class add dev lo parent 1: classid 1:2 htb rate 100gbit quantum 200000 \
    && tc qdisc add dev lo parent 1:2 pfifo limit 0 \
    && tc filter add dev lo parent 1: protocol ip prio 9 u32 match ip dst 127.0.0.9/32 flowid 1:2";

pub(crate) fn packets_dropped(case: &Case) -> Verdict {
    let probe = inside(&["true".into()]).stdin(Stdio::null()).output();
    match probe {
        Ok(Output { status, .. }) if status.success() => {}
        Ok(Output { stderr, .. }) => {
            let why = String::from_utf8_lossy(&stderr);
            return Verdict::Skipped(format!("no namespace with a queue: {}", why.trim()));
        }
        Err(error) => return Verdict::Skipped(format!("no unshare: {error}")),
    }
    let program = std::env::current_exe().expect("this program has a path");
    let played = inside(&[program.into_os_string()])
        .env(INSIDE, case.run.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("this program can be run");
    let said = String::from_utf8_lossy(&played.stdout).into_owned();
    assert!(played.status.success(), "inside: {}\n{said}", played.status);
    let outcome = said.lines().find_map(|line| line.strip_prefix(OUTCOME)).expect("an outcome");
    Verdict::of(serde_json::from_str(outcome).expect("our own words"))
}

/// A command in a new namespace.
fn inside(words: &[std::ffi::OsString]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &format!(r#"{PREPARE} && exec "$@""#), "sh"]).args(words);
    command
}

/// The part that runs inside.
pub(crate) fn play(run: &str) {
    set_parent_process_death_signal(Some(Signal::KILL)).expect("Linux");
    let case = Case::inside("packets dropped", run.parse().expect("a number"));
    let agent = Agent::builder()
        .config(format!(r#"addresses {{ http = "127.0.0.1 {CUT}" }}"#))
        .config("limits { http_max_conns_per_client = 10000 }")
        .start();
    let cut_address = SocketAddr::new(CUT.parse().expect("an address"), agent.http_addr().port());
    let holder = format!("http://{cut_address}");
    let filter = |words: &str| {
        let words = words.replace("FILTER", "dev lo parent 1: protocol ip prio 1");
        let done = Command::new("tc").arg("filter").args(words.split_whitespace()).status();
        assert!(done.expect("tc").success(), "{words}");
    };
    let cut = |is_cut| {
        if is_cut {
            filter(&format!("add FILTER u32 match ip dst {CUT}/32 flowid 1:2"));
            filter(&format!("add FILTER u32 match ip src {CUT}/32 flowid 1:2"));
        } else {
            filter("del FILTER");
        }
    };
    let outcome: Outcome = cut_off(&case, [&holder, &agent.url()], &agent.operator(), cut);
    println!("{OUTCOME}{}", serde_json::to_string(&outcome).expect("plain values"));
}
