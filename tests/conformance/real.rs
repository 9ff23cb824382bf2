//! Starts a real Consul on free ports.

use std::{
    env,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::client;

/// A Consul agent in `-dev` mode; it is killed on drop.
pub(crate) struct Agent {
    process: Child,
    address: SocketAddr,
}

impl Agent {
    pub(crate) fn start(node: &str) -> Self {
        let [http, server, serf] = free_ports();
        let process = Command::new(program())
            .args(["agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1"])
            .args(["-dns-port=-1", "-grpc-port=-1", "-serf-wan-port=-1", "-log-level=err"])
            .arg(format!("-node={node}"))
            .arg(format!("-http-port={http}"))
            .arg(format!("-server-port={server}"))
            .arg(format!("-serf-lan-port={serf}"))
            .current_dir(env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a started Consul");
        let agent = Self { process, address: SocketAddr::from(([127, 0, 0, 1], http)) };
        agent.await_ready();
        agent
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn await_ready(&self) {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            thread::sleep(Duration::from_millis(100));
            if std::net::TcpStream::connect(self.address).is_err() {
                continue;
            }
            let create = client::request(self.address, "PUT", "/v1/session/create", b"");
            if create.status == 200 {
                return;
            }
        }
        panic!("Consul was not ready after 30 s");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    if let Some(program) = env::var_os("CONSUL_BIN") {
        return program.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join("consul")).find(|file| file.is_file()).expect(
        "no Consul: neither CONSUL_BIN is set nor is there a `consul` on the PATH; \
         run scripts/test, which provides one",
    )
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
