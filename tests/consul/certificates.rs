//! Certificates in files, and agents that use them.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::consul::{Agent, AgentBuilder, free_port};

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "dsync-{}-{}",
            std::process::id(),
            free_port()
        ));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in one step, as secrets are mounted.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (new, file) = (self.file("new"), self.file(name));
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(&new, &file).expect("a file");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate authority.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key in PEM, for these names and addresses.
    pub(crate) fn certify(&self, names: &[&str]) -> (String, String) {
        self.certify_until(names, None)
    }

    /// A certificate that expired in this year.
    pub(crate) fn certify_until(&self, names: &[&str], year: Option<i32>) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        if let Some(year) = year {
            params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// An agent that serves TLS with the files `cert.pem` and `key.pem` of a folder.
pub(crate) struct TlsAgent {
    pub(crate) agent: Agent,
    pub(crate) folder: Folder,
    pub(crate) port: u16,
}

impl TlsAgent {
    /// Starts an agent with this certificate and key. If `clients` is set, a client must have
    /// a certificate of that CA.
    pub(crate) fn start(own: (String, String), clients: Option<&Ca>) -> Self {
        Self::start_as(Agent::builder(), own, clients)
    }

    /// Like [`start`](Self::start), with other settings of the agent.
    pub(crate) fn start_as(
        builder: AgentBuilder,
        (cert, key): (String, String),
        clients: Option<&Ca>,
    ) -> Self {
        let folder = Folder::new();
        let (cert, key) = (folder.write("cert.pem", &cert), folder.write("key.pem", &key));
        let port = free_port();
        let mut config =
            format!("ports {{ https = {port} }} cert_file = {cert:?} key_file = {key:?}",);
        if let Some(ca) = clients {
            let file = folder.write("clients.pem", &ca.pem);
            config += &format!(" verify_incoming_https = true ca_file = {file:?}");
        }
        let agent = builder.config(config).start();
        Self { agent, folder, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Replaces the files; the agent uses them for new connections.
    pub(crate) fn replace(&self, (cert, key): (String, String)) {
        self.folder.write("cert.pem", &cert);
        self.folder.write("key.pem", &key);
        let reload = self.agent.operator().ask("PUT", "/v1/agent/reload", b"");
        let reload = reload.expect("an answer");
        assert_eq!(reload.status, 200, "{}", reload.text());
    }
}
