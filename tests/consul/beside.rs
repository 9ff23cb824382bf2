//! `dsync lock` and `consul lock` on one key, of which the first is cut off: does its command still
//! run when the other's starts?

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    consul::Agent,
    proxy::{Mode, Proxy},
};

/// Until its folder has a file `stop`, writes the time, in nanoseconds, twenty times a second.
const TICKS: &str = "while [ ! -e stop ]; do date +%s%N >> ticks; sleep 0.05; done";
const STARTS: &str = "date +%s%N > started";
/// How long the first command is observed after the second has started.
const OBSERVED: Duration = Duration::from_secs(20);
/// How many runs share an agent, which accepts 200 connections from one address.
const SHARE: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tool {
    Dsync,
    Consul,
}

impl Tool {
    /// The command that runs `shell` in `folder`, under the lock of `key` in Consul.
    fn lock(self, url: &str, key: &str, folder: &Path, shell: &str) -> Option<Command> {
        let mut command = match self {
            Self::Dsync => {
                let mut tool = Command::new(option_env!("CARGO_BIN_EXE_dsync")?);
                tool.args(["lock", &format!("{key}/.lock"), "--", "sh", "-c", shell]);
                tool
            }
            Self::Consul => {
                let mut tool = Command::new(std::env::var_os("CONSUL_BIN")?);
                tool.args(["lock", key, shell]);
                tool
            }
        };
        command.env("CONSUL_HTTP_ADDR", url).current_dir(folder);
        let errors = fs::File::options().create(true).append(true).open(folder.join("errors"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.unwrap());
        Some(command)
    }
}

/// One run: a key, and a folder for what its commands write.
struct Run {
    folder: PathBuf,
    tools: Vec<Child>,
}

impl Run {
    fn times(&self, file: &str) -> Vec<u128> {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("stop"), "");
        for tool in &mut self.tools {
            let _ = tool.kill();
            let _ = tool.wait();
        }
    }
}

fn wait_for(runs: &[Run], file: &str, limit: Duration) {
    let end = Instant::now() + limit;
    while let Some(run) = runs.iter().find(|run| run.times(file).is_empty()) {
        let errors = || fs::read_to_string(run.folder.join("errors"));
        assert!(Instant::now() < end, "{file} is missing: {:?}", errors());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// By how much the first command outlives the start of the second, in each run.
fn overlaps(first: Tool, second: Tool, count: usize) -> Option<Vec<Duration>> {
    let agents: Vec<Agent> = (0..count.div_ceil(SHARE)).map(|_| Agent::start()).collect();
    let proxies: Vec<Proxy> = agents.iter().map(|agent| Proxy::to(agent.http_addr())).collect();
    let folder = std::env::temp_dir().join(format!("dsync-beside-{}", std::process::id()));
    let mut runs = Vec::new();
    for number in 0..count {
        let folder = folder.join(format!("{first:?}-{number}"));
        fs::create_dir_all(&folder).unwrap();
        let url = proxies[number / SHARE].url();
        let mut tool = first.lock(&url, &format!("beside/{number}"), &folder, TICKS)?;
        runs.push(Run { tools: vec![tool.spawn().unwrap()], folder });
    }
    wait_for(&runs, "ticks", Duration::from_secs(60));
    for (number, run) in runs.iter_mut().enumerate() {
        let key = format!("beside/{number}");
        let url = agents[number / SHARE].url();
        let mut tool = second.lock(&url, &key, &run.folder, STARTS)?;
        run.tools.push(tool.spawn().unwrap());
    }
    std::thread::sleep(Duration::from_secs(3));
    assert!(runs.iter().all(|run| run.times("started").is_empty()), "both have the lock");
    proxies.iter().for_each(|proxy| proxy.set(Mode::BlackHole));
    wait_for(&runs, "started", Duration::from_secs(180));
    std::thread::sleep(OBSERVED);
    let overlap = |run: &Run| {
        let (started, last) = (run.times("started")[0], *run.times("ticks").last().unwrap());
        Duration::from_nanos(u64::try_from(last.saturating_sub(started)).unwrap())
    };
    let found = runs.iter().map(overlap).collect();
    drop(runs);
    let _ = fs::remove_dir_all(folder);
    Some(found)
}

/// `scripts/beside [RUNS]`: prints the table of `docs/command-line.md`.
#[test]
#[ignore = "takes four minutes; prints a table"]
fn the_command_of_a_tool_that_is_cut_off_beside_the_other_tool() {
    let count = std::env::var("DSYNC_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20);
    println!("| cut off | waits | runs | both commands ran at once | for up to |");
    println!("|---|---|---|---|---|");
    for (first, second) in [(Tool::Dsync, Tool::Consul), (Tool::Consul, Tool::Dsync)] {
        let found = overlaps(first, second, count).expect("both tools exist");
        let both = found.iter().filter(|overlap| !overlap.is_zero()).count();
        let longest = found.iter().max().unwrap();
        println!("| {first:?} | {second:?} | {count} | {both} | {longest:.1?} |");
        if first == Tool::Dsync {
            assert_eq!(both, 0, "a command outlived its lock");
        }
    }
}
