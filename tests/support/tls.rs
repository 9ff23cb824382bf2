//! Certificates for servers, and clients that trust them.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

use super::consul::{Agent, free_port};

/// A self-signed certificate for this machine, in files that are removed with it.
pub(crate) struct Identity {
    folder: PathBuf,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let number = free_port();
        let folder = std::env::temp_dir().join(format!("dsync-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let both = format!("{cert}{key}");
        for (name, text) in [("cert.pem", &cert), ("key.pem", &key), ("both.pem", &both)] {
            std::fs::write(folder.join(name), text).expect("a file");
        }
        Self { folder, certificate: own.cert.der().clone() }
    }

    /// The folder of `cert.pem`, `key.pem`, and `both.pem`.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// An agent that also serves TLS, and its address.
    pub(crate) fn agent(&self) -> (Agent, String) {
        let port = free_port();
        let folder = self.folder.display();
        let config = format!(
            r#"ports {{ https = {port} }} cert_file = "{folder}/cert.pem" key_file = "{folder}/key.pem""#
        );
        let agent = Agent::builder().config(config).start();
        (agent, format!("https://{}:{port}", Ipv4Addr::LOCALHOST))
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An agent that also serves TLS, and the certificate to trust.
pub(crate) fn agent() -> (Agent, String, CertificateDer<'static>) {
    let identity = Identity::new();
    // The agent has read the files once it has started.
    let (agent, url) = identity.agent();
    (agent, url, identity.certificate.clone())
}

pub(crate) fn trusting(
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
