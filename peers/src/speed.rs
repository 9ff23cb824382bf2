//! How long the clients take beside the raw calls, on one agent in one run.

use std::process::Stdio;

use crate::driver;
use crate::support::consul::Agent;
use crate::support::proxy::Proxy;

/// Rounds before those that count, which open connections and fill caches.
const WARM_UP: usize = 20;

pub(crate) fn compare(rounds: usize, clients: &[&str]) {
    let agent = Agent::builder().config("limits { http_max_conns_per_client = 10000 }").start();
    println!("{rounds} rounds each; times as multiples of the raw calls\n");
    println!("| client | requests | acquire + release p50 | p99 | release → grant p50 | p99 |");
    println!("|---|---|---|---|---|---|");
    let mut floor = None;
    for client in ["raw"].iter().chain(clients) {
        let [cycle, handover] =
            ["cycle", "handover"].map(|command| measure(client, &agent.url(), command, rounds));
        let proxy = Proxy::to(agent.http_addr());
        measure(client, &proxy.url(), "cycle", rounds);
        let asked = ["PUT ", "GET "].map(|verb| proxy.requests(verb).len());
        let requests = asked.iter().sum::<usize>() as f64 / (WARM_UP + rounds) as f64;
        let [p50, p99] = [cycle.len() / 2, cycle.len() * 99 / 100];
        let times = [cycle[p50], cycle[p99], handover[p50], handover[p99]];
        let cells = match floor {
            None => times.map(|time| format!("{:.2} ms", time / 1e6)),
            Some(floor) => {
                let floor: [f64; 4] = floor;
                [0, 1, 2, 3].map(|place| format!("{:.1} ×", times[place] / floor[place]))
            }
        };
        floor = floor.or(Some(times));
        println!("| {client} | {requests:.1} | {} |", cells.join(" | "));
    }
}

/// The sorted nanoseconds of all rounds but the first.
fn measure(client: &str, url: &str, command: &str, rounds: usize) -> Vec<f64> {
    let (prefix, count) = (format!("{command}-{client}"), (WARM_UP + rounds).to_string());
    let output = driver(client)
        .args([url, &prefix, command, &count])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("a driver");
    assert!(output.status.success(), "{client} {command}: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("numbers");
    let mut times: Vec<f64> =
        text.lines().skip(WARM_UP).map(|line| line.parse().expect("nanoseconds")).collect();
    assert_eq!(times.len(), rounds, "{client} {command}");
    times.sort_by(f64::total_cmp);
    times
}
