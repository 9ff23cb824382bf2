//! nginx and HAProxy, each with one configuration, in front of an agent.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{consul::free_port, eventually};

/// A running proxy; it ends when dropped.
pub(crate) struct Gateway {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    process: Child,
    folder: PathBuf,
}

impl Gateway {
    /// Retires connections after 20 requests or 5 s, cuts reads off after 5 s, compresses
    /// everything.
    pub(crate) fn nginx_http1(agent: SocketAddr, files: &Path) -> Self {
        let name = "nginx, HTTP/1.1, `keepalive_requests 20`, `keepalive_timeout 5s`, \
                    `proxy_read_timeout 5s`, gzip";
        let server = "keepalive_requests 20; keepalive_timeout 5s; proxy_read_timeout 5s;
            gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;";
        Self::nginx(name, "nginx-1", agent, files, "", server)
    }

    pub(crate) fn nginx_http2(agent: SocketAddr, files: &Path) -> Self {
        let name = "nginx, TLS and HTTP/2, 128 streams";
        let server = "http2_max_concurrent_streams 128; ssl_certificate cert.pem;
            ssl_certificate_key key.pem;";
        Self::nginx(name, "nginx-2", agent, files, "ssl http2", server)
    }

    /// Serves the agent below a path.
    pub(crate) fn nginx_below_a_path(agent: SocketAddr, files: &Path) -> Self {
        let name = "nginx, TLS and HTTP/2, below `/consul`";
        let server = "ssl_certificate cert.pem; ssl_certificate_key key.pem;";
        let mut gateway =
            Self::nginx_at("/consul/", name, "nginx-3", agent, files, "ssl http2", server);
        gateway.url.push_str("/consul");
        gateway
    }

    /// Cuts reads off after 10 s.
    pub(crate) fn haproxy_http1(agent: SocketAddr, files: &Path) -> Self {
        let name = "HAProxy, HTTP/1.1, `timeout server 10s`";
        Self::haproxy(name, "haproxy-1", agent, files, "10s", "")
    }

    pub(crate) fn haproxy_http2(agent: SocketAddr, files: &Path) -> Self {
        let name = "HAProxy, TLS and HTTP/2, 100 streams, `timeout server 50s`";
        let both = files.join("both.pem");
        let tls = format!("ssl crt {} alpn h2,http/1.1", both.display());
        Self::haproxy(name, "haproxy-2", agent, files, "50s", &tls)
    }

    fn nginx(
        name: &'static str,
        folder: &str,
        agent: SocketAddr,
        files: &Path,
        listen: &str,
        server: &str,
    ) -> Self {
        Self::nginx_at("/", name, folder, agent, files, listen, server)
    }

    /// The agent's paths lie below `path`, which ends in a slash.
    fn nginx_at(
        path: &str,
        name: &'static str,
        folder: &str,
        agent: SocketAddr,
        files: &Path,
        listen: &str,
        server: &str,
    ) -> Self {
        // With a path, nginx replaces what `location` matched; without one, it passes the
        // request's path on as it is.
        let replaced = if path == "/" { "" } else { "/" };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {what};\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; {temporary}
                upstream consul {{ server {agent}; keepalive 64; }}
                server {{
                    listen {address} {listen}; {server}
                    location {path} {{
                        proxy_pass http://consul{replaced}; proxy_http_version 1.1;
                        proxy_set_header Connection '';
                    }}
                }}
            }}"
        );
        let folder = files.join(folder);
        fs::create_dir_all(&folder).unwrap();
        for name in ["cert.pem", "key.pem"] {
            fs::copy(files.join(name), folder.join(name)).unwrap();
        }
        fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut command = Command::new(binary("NGINX_BIN", "nginx"));
        command.arg("-p").arg(&folder).args(["-e", "stderr", "-c", "nginx.conf"]);
        Self::start(name, address, command, folder, listen.contains("ssl"))
    }

    fn haproxy(
        name: &'static str,
        folder: &str,
        agent: SocketAddr,
        files: &Path,
        patience: &str,
        tls: &str,
    ) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = format!(
            "global
    tune.h2.max-concurrent-streams 100
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server {patience}
frontend locks
    bind {address} {tls}
    default_backend consul
backend consul
    server agent {agent}
"
        );
        let folder = files.join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("haproxy.cfg"), config).unwrap();
        let mut command = Command::new(binary("HAPROXY_BIN", "haproxy"));
        command.args(["-db", "-f"]).arg(folder.join("haproxy.cfg"));
        Self::start(name, address, command, folder, !tls.is_empty())
    }

    fn start(
        name: &'static str,
        address: SocketAddr,
        mut command: Command,
        folder: PathBuf,
        is_tls: bool,
    ) -> Self {
        let log = File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let scheme = if is_tls { "https" } else { "http" };
        let gateway = Self { name, url: format!("{scheme}://{address}"), process, folder };
        let listens = || TcpStream::connect(address).ok();
        assert!(eventually(Duration::from_secs(10), listens).is_some(), "{}", gateway.log());
        gateway
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.name, self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map_or_else(|| name.into(), From::from)
}
