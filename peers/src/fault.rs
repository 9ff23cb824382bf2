//! A holder whose network fails, a second process that waits, and the history of both.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::driver;
use crate::log::now;
use crate::support::consul::Agent;
use crate::support::eventually;
use crate::support::proxy::{Mode, Proxy};

const KEYS: usize = 5;
/// Renewals of a quiet time before the fault.
const QUIET: Duration = Duration::from_secs(4);

/// A driver that holds keys, and the lines that it has printed.
struct Holder {
    child: Child,
    input: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Holder {
    fn start(client: &str, url: &str, prefix: &str) -> Self {
        let mut child = driver(client)
            .args([url, prefix, "hold", &KEYS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a driver");
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let input = child.stdin.take();
        Self { child, input, lines }
    }

    fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The times of the lines of this kind.
    fn times(&self, is: impl Fn(&Value) -> bool) -> Vec<u64> {
        self.lines()
            .iter()
            .filter(|line| is(line))
            .filter_map(|line| line["time"].as_u64())
            .collect()
    }

    fn grants(&self) -> Vec<u64> {
        self.times(|line| line["f"] == "acquire" && line["type"] == "ok")
    }

    fn wait(&self, limit: Duration) -> bool {
        eventually(limit, || (self.grants().len() >= KEYS).then_some(())).is_some()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the fault for this many seconds, and writes the history into the folder.
pub(crate) fn play(fault: &str, client: &str, seconds: u64, folder: &Path) {
    let agent = Agent::builder().config("limits { http_max_conns_per_client = 10000 }").start();
    let proxy = Proxy::to(agent.http_addr());
    let holder = Holder::start(client, &proxy.url(), "fault");
    assert!(holder.wait(Duration::from_secs(20)), "{client} does not acquire");
    let second = Holder::start(client, &agent.url(), "fault");
    std::thread::sleep(QUIET);
    let began = now();
    if fault == "hole" {
        proxy.set(Mode::BlackHole);
    } else {
        // Connections break, and Consul is out of reach for less than the TTL.
        proxy.set(Mode::Reset);
        proxy.set(Mode::Refuse);
        std::thread::sleep(Duration::from_secs(5));
        proxy.set(Mode::Forward);
    }
    let played = Duration::from_nanos(now() - began);
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(played));
    report(fault, client, began, &holder, &second);
    save(folder, &format!("{fault}-{client}"), [("holder", &holder), ("second", &second)]);
}

fn report(fault: &str, client: &str, began: u64, holder: &Holder, second: &Holder) {
    let seconds = |at: u64| (at as f64 - began as f64) / 1e9;
    let valid = |valid: bool| move |line: &Value| line["valid"] == valid;
    let lost = holder.times(valid(false)).into_iter().filter(|at| *at > began).min();
    let last = holder.times(valid(true)).into_iter().max().unwrap_or(began);
    let granted = second.grants().into_iter().min();
    let lost = lost.map_or("never".into(), |at| format!("after {:.1} s", seconds(at)));
    let second = granted.map_or("never".into(), |at| format!("after {:.1} s", seconds(at)));
    let both = granted.map_or(0.0, |at| (seconds(last) - seconds(at)).max(0.0));
    println!(
        "{fault}: {client}: the holder knew of a loss {lost}, the second process had the key \
         {second}, both said that they hold it for {both:.1} s"
    );
}

fn save(folder: &Path, name: &str, holders: [(&str, &Holder); 2]) {
    let mut lines = Vec::new();
    for (place, (process, holder)) in holders.into_iter().enumerate() {
        for mut line in holder.lines() {
            let op = line["op"].as_u64().expect("a number") * 2 + place as u64;
            (line["op"], line["process"]) = (op.into(), process.into());
            lines.push(line);
        }
    }
    lines.sort_by_key(|line| line["time"].as_u64());
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join(format!("{name}.jsonl")), text).expect("room for a history");
}
