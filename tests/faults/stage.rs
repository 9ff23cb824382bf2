//! Where a fault is played: real processes, what was done to them, and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_dsync::Timing;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::checker::{Logs, Pause, Report, Writes};
use crate::history;
use crate::player::{ORDERS, Orders, REST, Role};
use crate::record::{Event, What, Write, boot_nanos};
use crate::support::eventually;
use crate::support::operator::Operator;

/// How many keys each player contends for: one fault gives as many samples.
pub(crate) const KEYS: usize = 20;
/// What a noisy machine may add to any time that is waited for.
pub(crate) const NOISE: Duration = Duration::from_secs(60);

/// The processes of one case, and their logs.
#[derive(Debug)]
pub(crate) struct Stage {
    prefix: String,
    dir: PathBuf,
    players: Vec<Player>,
    pauses: Vec<Pause>,
    keeps_logs: bool,
}

/// What is known of one case when it is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) keys: usize,
    pub(crate) report: Report,
    /// From the fault to each key's grant at the second process.
    pub(crate) takeover: Vec<Duration>,
    /// From the end of a lock-delay to each key's grant.
    pub(crate) after_delay: Vec<Duration>,
}

#[derive(Debug)]
struct Player {
    orders: Orders,
    child: Child,
    input: Option<ChildStdin>,
    stopped: Option<u64>,
    killed: bool,
}

/// A player of a [`Stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who(usize);

impl Stage {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}-{}-{count}", name.replace([' ', ':'], "-"), std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stage-{prefix}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        Self { prefix, dir, players: Vec::new(), pauses: Vec::new(), keeps_logs: false }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Starts a process that holds every key until it loses it.
    pub(crate) fn holder(&mut self, name: &str, url: &str, timing: Timing) -> Who {
        self.player(name, url, timing, Role::Hold, KEYS)
    }

    pub(crate) fn player(
        &mut self,
        name: &str,
        url: &str,
        timing: Timing,
        role: Role,
        keys: usize,
    ) -> Who {
        let orders = Orders {
            name: format!("{name}-{}", self.players.len()),
            url: url.into(),
            prefix: self.prefix.clone(),
            keys,
            role,
            timing,
            seed: self.players.len() as u64,
            events: self.dir.join(format!("{name}-{}.events", self.players.len())),
            resource: self.dir.join("resource"),
        };
        self.players.push(Player::start(orders));
        Who(self.players.len() - 1)
    }

    /// A process like one that was killed.
    pub(crate) fn another(&mut self, who: Who) -> Who {
        let old = self.players[who.0].orders.clone();
        let name = old.name.rsplit_once('-').map_or(&*old.name, |(name, _)| name).to_owned();
        self.player(&name, &old.url, old.timing, old.role, old.keys)
    }

    pub(crate) fn stop(&mut self, who: Who) {
        let player = &mut self.players[who.0];
        // Counted from before the signal: what is asked after this may still be answered.
        player.signal(Signal::STOP);
        player.stopped = Some(boot_nanos());
    }

    pub(crate) fn resume(&mut self, who: Who) {
        let player = &mut self.players[who.0];
        let from = player.stopped.take().expect("a player that was stopped");
        let to = boot_nanos();
        player.signal(Signal::CONT);
        let lease = player.orders.timing.lease();
        self.pauses.push(Pause {
            process: player.orders.name.clone(),
            from,
            to,
            outlasts: Duration::from_nanos(to - from) > lease,
        });
    }

    pub(crate) fn kill(&mut self, who: Who) {
        let player = &mut self.players[who.0];
        player.killed = true;
        player.end();
    }

    /// Tells a player to end in good order, as an orchestrator does.
    pub(crate) fn terminate(&mut self, who: Who) {
        let player = &mut self.players[who.0];
        player.signal(Signal::TERM);
        player.input = None;
    }

    /// Says one word to a player.
    pub(crate) fn say(&mut self, who: Who, word: &str) {
        let input = self.players[who.0].input.as_mut().expect("a player that runs");
        writeln!(input, "{word}").expect("a player that listens");
    }

    pub(crate) fn pid(&self, who: Who) -> u32 {
        self.players[who.0].child.id()
    }

    pub(crate) fn name(&self, who: Who) -> String {
        self.players[who.0].orders.name.clone()
    }

    pub(crate) fn events(&self, who: Who) -> Vec<Event> {
        self.players[who.0].events()
    }

    /// Which keys a player holds, each with its token and when it was granted.
    pub(crate) fn held(&self, who: Who) -> BTreeMap<String, (u64, u64)> {
        let mut held = BTreeMap::new();
        for event in self.events(who) {
            match event.what {
                What::Granted(own) => drop(held.insert(own.key, (own.token, event.at))),
                What::Invalid { own, .. } | What::Lost { own, .. } | What::Released { own, .. } => {
                    held.retain(|key, (token, _)| *key != own.key || *token != own.token);
                }
                _ => {}
            }
        }
        held
    }

    /// Tokens only.
    pub(crate) fn tokens(&self, who: Who) -> BTreeMap<String, u64> {
        self.held(who).into_iter().map(|(key, (token, _))| (key, token)).collect()
    }

    /// Waits until these players together hold every key.
    pub(crate) fn wait_until_held(&self, by: &[Who], limit: Duration) {
        let count = || by.iter().map(|who| self.held(*who).len()).sum::<usize>();
        let wanted = self.players[by[0].0].orders.keys;
        let held = eventually(limit + NOISE, || {
            std::thread::sleep(Duration::from_millis(80));
            (count() >= wanted).then_some(())
        });
        let told = || self.players.iter().map(Player::last_events).collect::<Vec<_>>();
        assert!(held.is_some(), "{} of {wanted} after {limit:?}: {:#?}", count(), told());
    }

    /// Waits until a player has been told this many losses.
    pub(crate) fn wait_until_told(&self, who: Who, losses: usize) {
        let lost = |event: &Event| matches!(event.what, What::Lost { .. });
        let told = eventually(NOISE, || {
            (self.events(who).into_iter().filter(lost).count() >= losses).then_some(())
        });
        assert!(told.is_some(), "not told: {}", self.players[who.0].last_events());
    }

    /// From `fault` to the grant of each key that a player holds.
    pub(crate) fn since(&self, who: Who, fault: u64) -> Vec<Duration> {
        let held = self.held(who).into_values();
        held.map(|(_, at)| Duration::from_nanos(at.saturating_sub(fault))).collect()
    }

    /// Lets a player give back what it has and want nothing more.
    pub(crate) fn rest(&mut self, who: Who) {
        let player = &mut self.players[who.0];
        let Some(input) = &mut player.input else { return };
        writeln!(input, "{REST}").expect("a player that listens");
        let rests = eventually(NOISE, || {
            player.events().iter().any(|event| event.what == What::Rests).then_some(())
        });
        assert!(rests.is_some(), "does not rest: {}", player.last_events());
    }

    /// Ends all wants and the players; no key stays locked.
    pub(crate) fn end(&mut self, operator: &Operator) {
        let orphans = self.orphans(operator);
        assert!(orphans.is_empty(), "locked, though nobody wants it: {orphans:?}");
        self.finish();
        let left = self.left_locked(operator);
        assert!(left.is_empty(), "locked, though everybody has ended: {left:?}");
    }

    /// Which keys, and fences of sessions, stay locked after everybody has ended; the session of a
    /// player that was killed lasts for twice its TTL.
    pub(crate) fn left_locked(&self, operator: &Operator) -> Vec<(String, String)> {
        let mut locked = Vec::new();
        eventually(Duration::from_secs(120) + NOISE, || {
            locked = operator.locked(&format!("{}/", self.prefix)).ok()?;
            locked.is_empty().then_some(())
        });
        locked
    }

    /// Ends all wants; which keys stay locked, by whom. The fence of a session that lives is
    /// locked by it, and no orphan.
    pub(crate) fn orphans(&mut self, operator: &Operator) -> Vec<(String, String)> {
        for place in 0..self.players.len() {
            if !self.players[place].killed {
                self.rest(Who(place));
            }
        }
        let prefix = format!("{}/", self.prefix);
        let mut locked = Vec::new();
        eventually(Duration::from_secs(5) + NOISE, || {
            locked = operator.locked(&prefix).ok()?;
            locked.retain(|(key, _)| !key.starts_with(&format!("{prefix}.dsync/")));
            locked.is_empty().then_some(())
        });
        locked
    }

    /// Ends the players that run.
    pub(crate) fn finish(&mut self) {
        self.players.iter_mut().for_each(|player| drop(player.input.take()));
        for player in &mut self.players {
            let ended = eventually(NOISE, || player.child.try_wait().ok().flatten());
            let ended = ended.unwrap_or_else(|| panic!("does not end: {}", player.last_events()));
            assert!(player.killed || ended.success(), "{}: {ended}", player.orders.name);
        }
    }

    /// A way to look at the logs from another thread.
    pub(crate) fn logs(&self) -> LogFolder {
        LogFolder(self.dir.clone())
    }

    /// What the players have logged.
    pub(crate) fn told(&self) -> Logs {
        let mut logs = Logs { pauses: self.pauses.clone(), ..Logs::default() };
        for player in &self.players {
            logs.events.push((player.orders.name.clone(), player.events()));
        }
        let mut writes = Writes::default();
        let resource = fs::File::open(self.dir.join("resource")).expect("somebody wrote");
        for line in std::io::BufRead::lines(std::io::BufReader::new(resource)) {
            let line = line.expect("text");
            writes.push(Write::parse(&line).unwrap_or_else(|| panic!("written: {line:?}")));
        }
        logs.writes = writes;
        logs
    }

    pub(crate) fn report(&self) -> Report {
        let logs = self.told();
        history::keep(&self.prefix, &logs);
        Report::of(&logs)
    }

    /// There is something to find out: the logs stay when the stage goes.
    pub(crate) fn keep_logs(&mut self) {
        self.keeps_logs = true;
    }

    /// What came of it, once the players have ended.
    pub(crate) fn outcome(&self, takeover: Vec<Duration>) -> Outcome {
        let keys = self.players[0].orders.keys;
        Outcome { keys, report: self.report(), takeover, after_delay: Vec::new() }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.players.clear();
        if self.keeps_logs || std::thread::panicking() {
            eprintln!("the logs of {} are in {}", self.prefix, self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The logs of a [`Stage`].
#[derive(Clone, Debug)]
pub(crate) struct LogFolder(PathBuf);

impl LogFolder {
    /// How many grants they tell of.
    pub(crate) fn grants(&self) -> usize {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let events = files.filter(|file| file.file_name().to_string_lossy().ends_with(".events"));
        let texts = events.filter_map(|file| fs::read_to_string(file.path()).ok());
        texts.map(|text| text.matches(" granted ").count()).sum()
    }
}

impl Player {
    fn start(orders: Orders) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .env(ORDERS, serde_json::to_string(&orders).expect("plain values"))
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("this program can be run");
        let input = child.stdin.take();
        Self { orders, child, input, stopped: None, killed: false }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }

    fn end(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(&self.orders.events).unwrap_or_default();
        // A line that is being written has no end yet.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines.map(|line| Event::parse(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
    }

    fn last_events(&self) -> String {
        let events = self.events();
        let last = events.iter().rev().take(8).rev().map(Event::line);
        format!("{}: …\n{}", self.orders.name, last.collect::<String>())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.end();
    }
}
