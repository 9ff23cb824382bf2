//! How long the clients take beside the raw calls, in one run.

use std::net::SocketAddr;
use std::process::Stdio;

use crate::driver;
use crate::support::consul::{Agent, Cluster};
use crate::support::proxy::Proxy;

/// Rounds before those that count, which open connections and fill caches.
const WARM_UP: usize = 20;

/// The Consul that the clients use.
enum Place {
    Agent(Agent),
    /// Three servers on disk. All clients use the leading one.
    Cluster(Cluster),
}

impl Place {
    fn start(name: &str) -> Self {
        match name {
            "agent" => {
                let limit = "limits { http_max_conns_per_client = 10000 }";
                Self::Agent(Agent::builder().config(limit).start())
            }
            "cluster" => Self::Cluster(Cluster::start()),
            _ => panic!("{name}: neither \"agent\" nor \"cluster\""),
        }
    }

    fn http_addr(&self) -> SocketAddr {
        match self {
            Self::Agent(agent) => agent.http_addr(),
            Self::Cluster(cluster) => cluster.http_addr(cluster.leader()),
        }
    }
}

/// The median and the 99th percentile of both commands, in nanoseconds.
fn times(client: &str, url: &str, rounds: usize) -> [f64; 4] {
    let [cycle, handover] =
        ["cycle", "handover"].map(|command| measure(client, url, command, rounds));
    let [p50, p99] = [rounds / 2, rounds * 99 / 100];
    [cycle[p50], cycle[p99], handover[p50], handover[p99]]
}

pub(crate) fn compare(place: &str, rounds: usize, clients: &[&str]) {
    let place = Place::start(place);
    let url = format!("http://{}", place.http_addr());
    println!("{rounds} rounds each; multiples of the raw calls measured directly before\n");
    println!("| client | requests | acquire + release p50 | p99 | release → grant p50 | p99 |");
    println!("|---|---|---|---|---|---|");
    for client in clients {
        let floor = times("raw", &url, rounds);
        print_row("raw", None, floor.map(|time| format!("{:.2} ms", time / 1e6)));
        let times = times(client, &url, rounds);
        let proxy = Proxy::to(place.http_addr());
        measure(client, &proxy.url(), "cycle", rounds);
        let asked = ["PUT ", "GET "].map(|verb| proxy.requests(verb).len());
        let requests = asked.iter().sum::<usize>() as f64 / (WARM_UP + rounds) as f64;
        let of_floor = |at: usize| format!("{:.2} ×", times[at] / floor[at]);
        print_row(client, Some(requests), [0, 1, 2, 3].map(of_floor));
    }
}

fn print_row(client: &str, requests: Option<f64>, cells: [String; 4]) {
    let requests = requests.map_or_else(String::new, |requests| format!("{requests:.1}"));
    println!("| {client} | {requests} | {} |", cells.join(" | "));
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
