//! Real Consul servers: one in memory, or a cluster of three on disk.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::eventually;
use super::operator::Operator;

/// The time limit for an agent in memory to serve (takes about 1 s on an idle machine).
const AGENT_START: Duration = Duration::from_secs(120);
/// The time limit for a cluster to serve with three voters (takes about 15 s), and to re-elect.
const CLUSTER_START: Duration = Duration::from_secs(120);
/// The number of attempts to start servers if another process takes one of their ports.
const PORT_TRIES: usize = 8;

/// How a test's runtimes reach an [`Agent`] that the test has not configured otherwise:
/// `DSYNC_REACH`, see `scripts/test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Over TCP.
    Directly,
    /// Over a unix socket.
    Socket,
    /// Through a client agent.
    Client,
}

impl Reach {
    fn chosen() -> Self {
        match std::env::var("DSYNC_REACH").as_deref() {
            Err(_) | Ok("") => Self::Directly,
            Ok("socket") => Self::Socket,
            Ok("client") => Self::Client,
            Ok(other) => panic!("DSYNC_REACH is {other:?}; it must be socket or client"),
        }
    }
}

/// A Consul agent in memory (`-dev`); killed when dropped, or when the test process dies.
#[derive(Debug)]
pub(crate) struct Agent {
    server: Server,
    /// The path of its unix socket, if its URL names it.
    socket: Option<PathBuf>,
    /// The server, if this is a client agent that stands for it.
    _behind: Option<Box<Agent>>,
}

/// Options of an [`Agent`].
#[derive(Debug, Default)]
pub(crate) struct AgentBuilder {
    config: Vec<String>,
    token: Option<String>,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    pub(crate) fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    pub(crate) fn http_addr(&self) -> SocketAddr {
        self.server.ports.http_addr()
    }

    pub(crate) fn url(&self) -> String {
        match &self.socket {
            Some(path) => format!("unix://{}", path.display()),
            None => format!("http://{}", self.http_addr()),
        }
    }

    /// The name of the agent's node, to which sessions are bound.
    pub(crate) fn node(&self) -> &str {
        &self.server.node
    }

    /// The bootstrap token, if the agent has ACLs.
    pub(crate) fn token(&self) -> Option<&str> {
        self.server.token.as_deref()
    }

    /// An operator with the bootstrap token, if there is one.
    pub(crate) fn operator(&self) -> Operator {
        self.server.operator()
    }

    /// Freezes the agent: connections stay open and can be opened, but nothing is answered.
    pub(crate) fn stop(&self) {
        self.server.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.server.signal(Signal::CONT);
    }

    /// Kills the agent: its connections are reset and its port refuses new ones.
    pub(crate) fn kill(&self) {
        self.server.kill();
    }

    /// Kills the agent if it runs, and starts it on the same ports with an empty store.
    pub(crate) fn restart(&self) {
        self.server.restart(AGENT_START);
    }
}

impl AgentBuilder {
    /// Adds configuration, in HCL or JSON; may be called several times.
    pub(crate) fn config(mut self, config: impl Into<String>) -> Self {
        self.config.push(config.into());
        self
    }

    /// Enables ACLs that deny by default and allow `token` (a UUID) everything.
    pub(crate) fn acl(mut self, token: &str) -> Self {
        let name = if version() < (1, 11) { "master" } else { "initial_management" };
        self.token = Some(token.to_owned());
        self.config(format!(
            r#"acl {{ enabled = true, default_policy = "deny", tokens {{ {name} = "{token}" }} }}"#
        ))
    }

    pub(crate) fn start(self) -> Agent {
        let dev = |builder: Self, socket| builder.start_as(socket, |_| vec!["-dev".into()]);
        match Reach::chosen() {
            Reach::Socket if !self.config.iter().any(|config| config.contains("addresses")) => {
                dev(self, true)
            }
            Reach::Directly | Reach::Socket => dev(self, false),
            // With a configuration of its own, the test is about this agent.
            Reach::Client if !self.config.is_empty() => dev(self, false),
            Reach::Client => {
                let server = dev(self, false);
                let client = Self::default().start_client_of(&server);
                Agent { _behind: Some(Box::new(server)), ..client }
            }
        }
    }

    /// Starts a client agent, which is no server: it forwards requests to `server`.
    pub(crate) fn start_client_of(self, server: &Agent) -> Agent {
        let join = format!("-retry-join=127.0.0.1:{}", server.server.ports.serf);
        self.start_as(false, |dir| {
            let data = format!("-data-dir={}", dir.join("data").display());
            vec![data, join.clone(), "-retry-interval=1s".into()]
        })
    }

    fn start_as(self, has_socket: bool, arguments: impl Fn(&Path) -> Vec<String>) -> Agent {
        for _ in 0..PORT_TRIES {
            let mut server = Server::new(Ports::free(), self.token.clone());
            server.arguments.extend(arguments(&server.dir));
            let socket = has_socket.then(|| server.dir.join("http.sock"));
            if let Some(path) = &socket {
                let both =
                    format!("addresses {{ http = \"127.0.0.1 unix://{}\" }}", path.display());
                server.arguments.extend(["-hcl".into(), both]);
            }
            for config in &self.config {
                server.arguments.push("-hcl".into());
                server.arguments.push(config.clone());
            }
            server.launch();
            match server.wait_ready(AGENT_START) {
                Ok(()) => return Agent { server, socket, _behind: None },
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(why)) => panic!("{why}"),
            }
        }
        panic!("found no free ports for a Consul agent in {PORT_TRIES} tries");
    }
}

/// Three Consul servers on disk, with Consul's default raft timing; killed when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Returns once there are a leader and three voters.
    pub(crate) fn start() -> Self {
        for _ in 0..PORT_TRIES {
            let ports = [Ports::free(), Ports::free(), Ports::free()];
            let servers = ports.iter().map(|own| {
                let mut server = Server::new(own.clone(), None);
                server.arguments.extend(["-server".into(), "-bootstrap-expect=3".into()]);
                server.arguments.push(format!("-data-dir={}", server.dir.join("data").display()));
                let others = ports.iter().filter(|other| other.serf != own.serf);
                let join = others.map(|other| format!("-retry-join=127.0.0.1:{}", other.serf));
                server.arguments.extend(join.chain(["-retry-interval=1s".into()]));
                server
            });
            let cluster = Self { servers: servers.collect() };
            cluster.servers.iter().for_each(Server::launch);
            let ready = cluster.servers.iter().try_for_each(|s| s.wait_ready(CLUSTER_START));
            match ready {
                Ok(()) => {
                    cluster.wait_for_voters();
                    return cluster;
                }
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(why)) => panic!("{why}"),
            }
        }
        panic!("found no free ports for a Consul cluster in {PORT_TRIES} tries");
    }

    pub(crate) fn http_addr(&self, server: usize) -> SocketAddr {
        self.servers[server].ports.http_addr()
    }

    pub(crate) fn url(&self, server: usize) -> String {
        format!("http://{}", self.http_addr(server))
    }

    pub(crate) fn operator(&self, server: usize) -> Operator {
        self.servers[server].operator()
    }

    /// The leading server; waits for a running election to end. Does not ask frozen servers. The
    /// leader answers requests when this returns.
    pub(crate) fn leader(&self) -> usize {
        let leader = eventually(CLUSTER_START, || {
            (0..self.servers.len()).find(|i| self.serves(*i) && self.leads(*i))
        });
        leader.unwrap_or_else(|| panic!("no leader\n{}", self.servers[0].log()))
    }

    /// A server that runs, is not frozen and does not lead.
    pub(crate) fn follower(&self) -> usize {
        let leader = self.leader();
        let follower = (0..self.servers.len()).find(|i| *i != leader && self.serves(*i));
        follower.expect("a follower that runs")
    }

    /// Kills the leader and returns it; does not wait for the election.
    pub(crate) fn kill_leader(&self) -> usize {
        let leader = self.leader();
        self.kill(leader);
        leader
    }

    pub(crate) fn kill(&self, server: usize) {
        self.servers[server].kill();
    }

    /// Stops the server's process (`SIGSTOP`).
    pub(crate) fn freeze(&self, server: usize) {
        self.servers[server].signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self, server: usize) {
        self.servers[server].signal(Signal::CONT);
    }

    /// Kills the server if it runs and starts it on the same ports and data; waits until it serves.
    pub(crate) fn restart(&self, server: usize) {
        self.servers[server].restart(CLUSTER_START);
    }

    /// Starts killed servers together, and waits until each of them serves.
    pub(crate) fn start_again(&self, servers: &[usize]) {
        servers.iter().for_each(|server| self.servers[*server].launch());
        for server in servers {
            if self.servers[*server].wait_ready(CLUSTER_START).is_err() {
                self.restart(*server);
            }
        }
    }

    /// Waits until all three servers run and vote, and one of them leads.
    pub(crate) fn wait_until_whole(&self) {
        for server in &self.servers {
            assert!(server.wait_ready(CLUSTER_START).is_ok(), "not whole\n{}", server.log());
        }
        self.wait_for_voters();
    }

    /// Whether the server runs and is not frozen.
    fn serves(&self, server: usize) -> bool {
        self.servers[server].process().as_ref().is_some_and(|process| !process.frozen)
    }

    /// Whether `server` considers itself the leader and a quorum confirms it. A former leader that
    /// was thawed also names itself, and the others name a dead leader for seconds.
    fn leads(&self, server: usize) -> bool {
        let operator = self.operator(server).limit(Duration::from_secs(1));
        let named = operator.ask("GET", "/v1/status/leader", b"");
        let own = format!(r#""127.0.0.1:{}""#, self.servers[server].ports.rpc);
        named.is_ok_and(|named| named.text() == own)
            && operator
                .ask("GET", "/v1/kv/none?consistent", b"")
                .is_ok_and(|read| read.status == 404)
    }

    fn wait_for_voters(&self) {
        let operator = self.operator(self.leader());
        let voters = eventually(CLUSTER_START, || {
            let raft = operator.ask("GET", "/v1/operator/raft/configuration", b"").ok()?;
            let raft = (raft.status == 200).then(|| raft.json())?;
            let servers = raft["Servers"].as_array()?;
            (servers.iter().filter(|server| server["Voter"] == true).count() == 3).then_some(())
        });
        assert!(voters.is_some(), "no three voters\n{}", self.servers[0].log());
    }
}

#[derive(Clone, Debug)]
struct Ports {
    http: u16,
    rpc: u16,
    serf: u16,
}

impl Ports {
    /// Free ports, below Linux's range for outgoing connections: otherwise a client that keeps
    /// dialling a dead server might get the server's port as its own.
    fn free() -> Self {
        Self { http: free_port(), rpc: free_port(), serf: free_port() }
    }

    fn http_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.http).into()
    }
}

/// A free port.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        // Concurrent test processes start at different ports.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = now.subsec_nanos() ^ std::process::id().wrapping_mul(0x9E37_79B1);
        AtomicU16::new((seed >> 8) as u16)
    });
    for _ in 0..COUNT {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

enum Failure {
    PortTaken,
    Other(String),
}

#[derive(Debug)]
struct Server {
    /// Unique on this machine, so that a foreign server on our port is noticed.
    node: String,
    dir: PathBuf,
    ports: Ports,
    token: Option<String>,
    arguments: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl Server {
    fn new(ports: Ports, token: Option<String>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let node = format!("dsync-{}-{count}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&node);
        let mut arguments: Vec<String> =
            ["agent", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=info"]
                .map(String::from)
                .into();
        arguments.push(format!("-node={node}"));
        arguments.push(format!("-http-port={}", ports.http));
        arguments.push(format!("-server-port={}", ports.rpc));
        arguments.push(format!("-serf-lan-port={}", ports.serf));
        arguments.extend(["-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1"].map(String::from));
        arguments.extend(["-hcl", "disable_update_check = true"].map(String::from));
        if version() >= (1, 14) {
            let own = "ports { grpc_tls = -1 } peering { enabled = false }";
            arguments.extend(["-hcl", own].map(String::from));
        }
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        Self { node, dir, ports, token, arguments, process: Mutex::default() }
    }

    fn operator(&self) -> Operator {
        Operator::new(self.ports.http_addr()).token(self.token.clone())
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) {
        *self.process() = None;
        let log = File::create(self.log_path()).expect("a log file for Consul");
        *self.process() = Some(Process::spawn(&self.arguments, log, &self.dir));
    }

    fn restart(&self, limit: Duration) {
        for _ in 0..PORT_TRIES {
            self.launch();
            match self.wait_ready(limit) {
                Ok(()) => return,
                Err(Failure::PortTaken) => std::thread::sleep(Duration::from_millis(500)),
                Err(Failure::Other(why)) => panic!("{why}"),
            }
        }
        panic!("the ports of {} were taken while it was down", self.node);
    }

    fn kill(&self) {
        *self.process() = None;
    }

    fn signal(&self, signal: Signal) {
        let mut process = self.process();
        let process = process.as_mut().expect("a signal for a server that runs");
        kill_process(Pid::from_child(&process.server), signal).expect("our own child");
        process.frozen = signal == Signal::STOP;
        if process.frozen {
            // Its threads stop one by one, and the last may still answer a request.
            let id = process.server.id();
            let stopped = || all_threads_stopped(id).then_some(());
            eventually(Duration::from_secs(5), stopped).expect("a stopped process");
        }
    }

    /// Waits until the server knows a leader and can create sessions on its own node.
    fn wait_ready(&self, limit: Duration) -> Result<(), Failure> {
        let operator = self.operator().limit(Duration::from_secs(5));
        let ready = eventually(limit, || {
            if self.process().as_mut().is_none_or(Process::has_ended) {
                let taken = self.log().contains("address already in use");
                let ended = || Failure::Other(format!("Consul ended:\n{}", self.log()));
                return Some(Err(if taken { Failure::PortTaken } else { ended() }));
            }
            let leader = operator.ask("GET", "/v1/status/leader", b"").ok()?;
            if leader.status != 200 || leader.text() == r#""""# {
                return None;
            }
            // A foreign server on our port has no node of this name.
            let session = json!({ "Node": self.node, "TTL": "10s", "LockDelay": "0s" });
            let session = operator.create_session(&session).ok()?;
            operator.destroy_session(&session);
            Some(Ok(()))
        });
        let late = || Failure::Other(format!("not ready after {limit:?}:\n{}", self.log()));
        ready.unwrap_or_else(|| Err(late()))
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// Whether all threads of the process have stopped; `true` on systems that do not report it.
fn all_threads_stopped(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('T'))
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of Consul {}:\n{}", self.node, self.log());
        }
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[derive(Debug)]
struct Process {
    server: Child,
    /// Kills the server and removes its folder once our end of its pipe closes, which also
    /// happens when this process is killed.
    guard: Child,
    frozen: bool,
}

impl Process {
    fn spawn(arguments: &[String], log: File, dir: &Path) -> Self {
        let errors = log.try_clone().expect("a second handle on the log");
        let server = Command::new(binary())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", binary().display()));
        let guard = Command::new("sh")
            .args(["-c", r#"read -r _; kill -KILL "$0" 2>/dev/null; rm -rf -- "$1""#])
            .arg(server.id().to_string())
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // In a process group of its own, so that Ctrl-C does not end it before it has cleaned up.
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self { server, guard, frozen: false }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.server.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // End the guard first: it must not kill a process that reuses the server's id.
        for child in [&mut self.guard, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The path of Consul: `CONSUL_BIN`, otherwise `consul` on the PATH.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("CONSUL_BIN").filter(|path| !path.is_empty()) {
            return binary.into();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|dir| dir.join("consul"));
        on_path
            .into_iter()
            .find(|binary| binary.is_file())
            .expect("no Consul server: run scripts/test, which gets one")
    })
}

/// The binary's major and minor version.
fn version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(binary()).arg("version").output();
        let output = output.unwrap_or_else(|e| panic!("{}: {e}", binary().display()));
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = output
            .split_once(" v")
            .map(|(_, version)| version.split('.').map_while(|part| part.parse().ok()))
            .unwrap_or_else(|| panic!("no version in {output:?}"));
        (numbers.next().unwrap_or(1), numbers.next().unwrap_or(0))
    })
}
