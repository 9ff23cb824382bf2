//! Hours of everything at once: `scripts/soak MINUTES [SEED]`.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_dsync::Timing;

use crate::network::hog;
use crate::player::Role;
use crate::random::Random;
use crate::stage::{Stage, Who};
use crate::support::consul::Cluster;
use crate::support::proxy::{Mode, Proxy};

/// How long the processes run before what they use is measured for the first time.
const WARM_UP: Duration = Duration::from_secs(20);
const SERVERS: usize = 3;
/// The longest lock-delay of a team, and a little.
const REPEATED_DELAYS: Duration = Duration::from_secs(16);
/// Connections that an agent allows to one address.
const CONNECTIONS: usize = 200;

/// What can go wrong, drawn by lot.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Network(Mode),
    PlayerStopped,
    PlayerKilled,
    SessionDestroyed,
    SessionDestroyedWhileCutOff,
    SessionDestroyedWhileStopped,
    ConnectionsUsedUp,
    LeaderFrozen,
    LeaderKilled,
    FollowerFrozen,
    FollowerKilled,
    FollowerLeaves,
    QuorumLost,
    AllServersRestarted,
}

const FAULTS: [Fault; 18] = [
    Fault::Network(Mode::BlackHole),
    Fault::Network(Mode::OneWay),
    Fault::Network(Mode::Reset),
    Fault::Network(Mode::Refuse),
    Fault::Network(Mode::Delay(Duration::from_millis(300))),
    Fault::PlayerStopped,
    Fault::PlayerKilled,
    Fault::SessionDestroyed,
    Fault::SessionDestroyedWhileCutOff,
    Fault::SessionDestroyedWhileStopped,
    Fault::ConnectionsUsedUp,
    Fault::LeaderFrozen,
    Fault::LeaderKilled,
    Fault::FollowerFrozen,
    Fault::FollowerKilled,
    Fault::FollowerLeaves,
    Fault::QuorumLost,
    Fault::AllServersRestarted,
];

impl Fault {
    /// Whether sessions end by it before their TTL.
    fn ends_sessions(self) -> bool {
        matches!(
            self,
            Self::SessionDestroyed
                | Self::SessionDestroyedWhileCutOff
                | Self::SessionDestroyedWhileStopped
                | Self::FollowerLeaves
        )
    }
}

const SECOND: [Mode; 4] =
    [Mode::BlackHole, Mode::OneWay, Mode::Reset, Mode::Delay(Duration::from_millis(300))];

/// One kind of work: a process on each server, through a network of its own.
struct Team {
    stage: Stage,
    members: Vec<(Who, Proxy)>,
}

struct Soak {
    cluster: Cluster,
    teams: Vec<Team>,
    random: Random,
    faults: BTreeMap<String, usize>,
    /// When a server last caught up with what it had missed.
    caught_up: Instant,
    now: Arc<Mutex<String>>,
}

/// Plays for as many minutes as the plan's first word says, by the seed that is its second.
pub(crate) fn run(plan: &str) -> ExitCode {
    let mut words = plan.split(' ').map(|word| word.parse::<u64>().expect("minutes and a seed"));
    let minutes = words.next().expect("minutes");
    let seed = words.next().expect("a seed");
    println!("soak: {minutes} min, seed {seed}");
    let mut soak = Soak::start(seed);
    let began = Instant::now();
    let length = Duration::from_secs(minutes * 60);
    let over = Arc::new(AtomicBool::new(false));
    let progress = soak.progress(began, over.clone());

    std::thread::sleep(WARM_UP.min(length / 4));
    let before = soak.usage();
    // Each kind comes once before any comes again.
    let mut left = Vec::new();
    while began.elapsed() < length {
        if left.is_empty() {
            left = FAULTS.to_vec();
        }
        let fault = left.swap_remove(soak.random.below(left.len() as u64) as usize);
        if fault.ends_sessions() {
            // A delay that a server repeats then cuts the next one short: docs/safety.md.
            std::thread::sleep(REPEATED_DELAYS.saturating_sub(soak.caught_up.elapsed()));
        }
        // At times somebody else's network fails, too.
        let second = (soak.random.below(3) == 0).then(|| soak.member());
        if let Some((team, place)) = second {
            *soak.faults.entry("a second one".into()).or_default() += 1;
            let mode = SECOND[soak.random.below(SECOND.len() as u64) as usize];
            soak.teams[team].members[place].1.set(mode);
        }
        soak.inflict(fault);
        if let Some((team, place)) = second {
            soak.teams[team].members[place].1.set(Mode::Forward);
        }
        soak.say("nothing");
        std::thread::sleep(soak.random.millis(2_000, 12_000));
    }
    soak.say("the end");
    let good = soak.end(&before, began);
    over.store(true, Ordering::Relaxed);
    let _ = progress.join();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Soak {
    fn start(seed: u64) -> Self {
        let cluster = Cluster::start();
        let short = Timing::default()
            .with_session_ttl(Duration::from_secs(10))
            .with_lock_delay(Duration::from_secs(10));
        let teams = [
            ("long", Role::Hold, 20, Timing::default()),
            ("turns", Role::Turns, 10, short),
            ("short", Role::Short, 6, Timing::default()),
        ];
        let teams = teams.map(|(name, role, keys, timing)| {
            let mut stage = Stage::new(&format!("soak-{name}"));
            let members = (0..SERVERS).map(|server| {
                let proxy = Proxy::to(cluster.http_addr(server));
                (stage.player(name, &proxy.url(), timing.clone(), role, keys), proxy)
            });
            let members = members.collect();
            Team { stage, members }
        });
        Self {
            cluster,
            teams: teams.into(),
            random: Random::new(seed),
            faults: BTreeMap::new(),
            caught_up: Instant::now(),
            now: Arc::new(Mutex::new("nothing".into())),
        }
    }

    fn say(&self, what: &str) {
        what.clone_into(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A line every 10 s.
    fn progress(&self, began: Instant, over: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
        let now = self.now.clone();
        let logs: Vec<_> = self.teams.iter().map(|team| team.stage.logs()).collect();
        std::thread::spawn(move || {
            let mut next = Duration::from_secs(10);
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                if began.elapsed() >= next {
                    next += Duration::from_secs(10);
                    let grants: Vec<_> = logs.iter().map(|logs| logs.grants()).collect();
                    let now = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    println!("{:4} s: {grants:?} grants; {now}", began.elapsed().as_secs());
                }
            }
        })
    }

    /// A member by lot: its team and its place there. The first of each team is never killed.
    fn member(&mut self) -> (usize, usize) {
        let lot = self.random.below((self.teams.len() * SERVERS) as u64) as usize;
        (lot / SERVERS, lot % SERVERS)
    }

    fn inflict(&mut self, fault: Fault) {
        *self.faults.entry(format!("{fault:?}")).or_default() += 1;
        let (team, place) = self.member();
        let length = self.random.millis(2_000, 40_000);
        self.say(&format!("{fault:?} for {length:?}, of member {place} of team {team}"));
        let (who, proxy) = &self.teams[team].members[place];
        let who = *who;
        match fault {
            Fault::Network(mode) => {
                proxy.set(mode);
                std::thread::sleep(length);
                proxy.set(Mode::Forward);
            }
            Fault::PlayerStopped => {
                self.teams[team].stage.stop(who);
                std::thread::sleep(length);
                self.teams[team].stage.resume(who);
            }
            Fault::PlayerKilled => {
                let (team, place) = (&mut self.teams[team], place.max(1));
                let who = team.members[place].0;
                team.stage.kill(who);
                team.members[place].0 = team.stage.another(who);
            }
            Fault::SessionDestroyed => self.destroy_session_of(team, who),
            Fault::SessionDestroyedWhileCutOff => {
                proxy.set(Mode::BlackHole);
                self.destroy_session_of(team, who);
                std::thread::sleep(length);
                self.teams[team].members[place].1.set(Mode::Forward);
            }
            Fault::SessionDestroyedWhileStopped => {
                self.teams[team].stage.stop(who);
                self.destroy_session_of(team, who);
                std::thread::sleep(length);
                self.teams[team].stage.resume(who);
            }
            Fault::ConnectionsUsedUp => {
                let (agent, over) = (self.cluster.http_addr(place), AtomicBool::new(false));
                std::thread::scope(|scope| {
                    scope.spawn(|| hog(agent, CONNECTIONS, &over));
                    std::thread::sleep(length);
                    over.store(true, Ordering::Relaxed);
                });
                // The agent still counts them for a moment.
                while TcpStream::connect(agent).is_err() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Fault::LeaderFrozen => {
                let leader = self.cluster.leader();
                self.freeze(leader, length);
            }
            Fault::FollowerFrozen => {
                let follower = self.cluster.follower();
                self.freeze(follower, length);
            }
            Fault::LeaderKilled => {
                let leader = self.cluster.leader();
                self.kill(&[leader], length);
            }
            Fault::FollowerKilled => {
                let follower = self.cluster.follower();
                self.kill(&[follower], length);
            }
            Fault::QuorumLost => {
                let spared = place;
                let killed: Vec<_> = (0..SERVERS).filter(|server| *server != spared).collect();
                self.kill(&killed, length);
            }
            Fault::AllServersRestarted => self.kill(&[0, 1, 2], Duration::ZERO),
            Fault::FollowerLeaves => {
                let follower = self.cluster.follower();
                let operator = self.cluster.operator(follower).limit(Duration::from_secs(30));
                let _ = operator.ask("PUT", "/v1/agent/leave", b"");
                std::thread::sleep(length);
                self.kill(&[follower], Duration::ZERO);
            }
        }
    }

    fn freeze(&mut self, server: usize, length: Duration) {
        self.cluster.freeze(server);
        std::thread::sleep(length);
        self.cluster.thaw(server);
        self.cluster.wait_until_whole();
        self.caught_up = Instant::now();
    }

    fn kill(&mut self, servers: &[usize], length: Duration) {
        servers.iter().for_each(|server| self.cluster.kill(*server));
        std::thread::sleep(length);
        self.cluster.start_again(servers);
        self.cluster.wait_until_whole();
        self.caught_up = Instant::now();
    }

    /// Destroys the session under which a player holds a key, if it holds one.
    fn destroy_session_of(&self, team: usize, who: Who) {
        let stage = &self.teams[team].stage;
        let operator = self.cluster.operator(self.cluster.leader());
        let Some(key) = stage.held(who).into_keys().next() else { return };
        let entry = operator.kv_get(&format!("{}/{key}", stage.prefix()));
        if let Some(session) = entry.and_then(|entry| entry.session) {
            operator.destroy_session(&session);
        }
    }

    /// What the processes that are never killed use, by their names.
    fn usage(&self) -> BTreeMap<String, Usage> {
        let veterans = self.teams.iter().map(|team| (team, team.members[0].0));
        veterans.map(|(team, who)| (team.stage.name(who), Usage::of(team.stage.pid(who)))).collect()
    }

    /// Ends everything and prints the report; whether it is good.
    fn end(mut self, before: &BTreeMap<String, Usage>, began: Instant) -> bool {
        self.cluster.wait_until_whole();
        let operator = self.cluster.operator(self.cluster.leader());
        let members: Vec<_> = self.teams[0].members.iter().map(|(who, _)| *who).collect();
        self.teams[0].stage.wait_until_held(&members, Duration::from_secs(60));
        std::thread::sleep(WARM_UP);
        let after = self.usage();
        let played = began.elapsed();

        println!("\nsoak: {} s of faults {:#?}", played.as_secs(), self.faults);
        let mut good = true;
        for team in &mut self.teams {
            let orphans = team.stage.orphans(&operator);
            team.stage.finish();
            let left = team.stage.left_locked(&operator);
            let report = team.stage.report();
            println!("{}:", team.stage.prefix());
            println!("  grants              {}", report.grants);
            println!("  writes              {}", report.writes);
            println!("  changes of process  {}", report.changes);
            println!("  losses              {:?}", report.losses);
            println!("  longest without one {:?}", report.gaps.iter().max());
            println!("  max overlap ns      {:?}", report.overlap);
            println!(
                "  overlaps            {} {:#?}",
                report.overlaps.len(),
                few(&report.overlaps)
            );
            println!(
                "  tokens out of order {} {:#?}",
                report.disorder.len(),
                few(&report.disorder)
            );
            println!("  valid after its end {} {:#?}", report.revived.len(), few(&report.revived));
            println!("  not told once       {} {:#?}", report.untold.len(), few(&report.untold));
            println!("  stale checks        {}", report.stale_checks);
            println!("  late writes         {}", report.late_writes);
            println!("  orphans             {} {orphans:?}", orphans.len());
            println!("  locked at the end   {} {left:?}", left.len());
            println!("  failed requests     {:#?}", report.failures);
            let team_good = report.overlaps.is_empty()
                && report.disorder.is_empty()
                && report.revived.is_empty()
                && report.untold.is_empty()
                && report.stale_checks == 0
                && orphans.is_empty()
                && left.is_empty();
            if !team_good {
                team.stage.keep_logs();
            }
            good &= team_good;
        }
        for (name, usage) in &after {
            println!("{name}: {:?} -> {usage:?}", before[name]);
            good &= !usage.has_grown_since(&before[name]);
        }
        println!("soak: {}", if good { "good" } else { "BAD" });
        good
    }
}

fn few(many: &[String]) -> &[String] {
    &many[..many.len().min(5)]
}

/// What a process uses up.
#[derive(Clone, Copy, Debug)]
struct Usage {
    resident_kb: usize,
    files: usize,
    threads: usize,
}

impl Usage {
    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.expect("a number of every Linux")
        };
        Self {
            resident_kb: field("VmRSS:"),
            files: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("Linux").count(),
            threads: field("Threads:"),
        }
    }

    /// By more than a few connections and what an allocator keeps.
    fn has_grown_since(&self, before: &Self) -> bool {
        self.resident_kb > before.resident_kb + 8 * 1_024
            || self.files > before.files + 16
            || self.threads > before.threads + 2
    }
}
