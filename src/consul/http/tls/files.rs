//! TLS configurations from PEM files.

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::{config::TlsSettings, logs};

/// The configuration that the files give, which follows them.
pub(super) struct Files {
    settings: TlsSettings,
    /// The operating system's CAs, if no CA is named.
    system: Option<Arc<RootCertStore>>,
    current: RefCell<Loaded>,
}

/// What was read last, and the newest configuration that could be made.
struct Loaded {
    read: Result<Pems, String>,
    config: Arc<ClientConfig>,
}

/// The contents of the files.
#[derive(PartialEq, Eq)]
struct Pems {
    cas: Vec<(PathBuf, Vec<u8>)>,
    /// The certificate and the key.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn load(settings: TlsSettings) -> Result<Self, String> {
        let names_no_ca = settings.ca_file.is_none() && settings.ca_path.is_none();
        let system = (names_no_ca && settings.verify).then(system_roots).transpose()?;
        if !settings.verify {
            logs::warn!(
                "tls.verify is false: anybody between this process and the agent can read the \
                 token and grant any lock"
            );
        }
        let read = Pems::read(&settings)?;
        let config = read.config(&settings, system.as_ref())?;
        let current = RefCell::new(Loaded { read: Ok(read), config });
        Ok(Self { settings, system, current })
    }

    /// Reads the files again, and returns the newest configuration that they gave.
    pub(super) async fn current(&self) -> Arc<ClientConfig> {
        let settings = self.settings.clone();
        let read = tokio::task::spawn_blocking(move || Pems::read(&settings)).await;
        // A task that was cancelled at the end of the runtime.
        let Ok(read) = read else { return Arc::clone(&self.current.borrow().config) };
        let mut current = self.current.borrow_mut();
        if read != current.read {
            let made = read.as_ref().map_err(String::clone);
            match made.and_then(|pems| pems.config(&self.settings, self.system.as_ref())) {
                Ok(config) => {
                    logs::info!("the TLS files changed; new connections use them");
                    current.config = config;
                }
                Err(why) => logs::warn!(
                    %why,
                    "the TLS files cannot be used; new connections use the last good ones"
                ),
            }
            current.read = read;
        }
        Arc::clone(&current.config)
    }
}

impl Pems {
    /// # Errors
    /// Which file cannot be read, and why.
    fn read(settings: &TlsSettings) -> Result<Self, String> {
        let file =
            |field: &str, path: &Path| fs::read(path).map_err(|err| unreadable(field, path, &err));
        let cas = match (&settings.ca_file, &settings.ca_path) {
            (Some(path), _) => vec![(path.clone(), file("tls.ca_file", path)?)],
            (None, Some(folder)) => {
                let files = files_in(folder);
                let files = files.map_err(|err| unreadable("tls.ca_path", folder, &err))?;
                let read = |path: PathBuf| Ok((path.clone(), file("tls.ca_path", &path)?));
                files.into_iter().map(read).collect::<Result<_, String>>()?
            }
            (None, None) => Vec::new(),
        };
        let client = match (&settings.client_cert, &settings.client_key) {
            (Some(cert), Some(key)) => {
                Some((file("tls.client_cert", cert)?, file("tls.client_key", key)?))
            }
            _ => None,
        };
        Ok(Self { cas, client })
    }

    /// # Errors
    /// Which file holds no certificate or key, or that they do not fit together.
    fn config(
        &self,
        settings: &TlsSettings,
        system: Option<&Arc<RootCertStore>>,
    ) -> Result<Arc<ClientConfig>, String> {
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|err| format!("TLS cannot be used: {err}"))?;
        let builder = match system {
            _ if !settings.verify => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            }
            Some(system) => builder.with_root_certificates(Arc::clone(system)),
            None => builder.with_root_certificates(self.roots(settings)?),
        };
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = certificates(cert).map_err(|why| format!("tls.client_cert {why}"))?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| "tls.client_key has no private key in PEM")?;
                builder.with_client_auth_cert(chain, key).map_err(|err| {
                    format!("tls.client_cert and tls.client_key cannot be used: {err}")
                })?
            }
        };
        Ok(with_http_2(Arc::new(config)))
    }

    fn roots(&self, settings: &TlsSettings) -> Result<RootCertStore, String> {
        let field = if settings.ca_file.is_some() { "tls.ca_file" } else { "tls.ca_path" };
        let mut roots = RootCertStore::empty();
        for (path, pem) in &self.cas {
            let of_file = |why: &str| format!("{field} '{}' {why}", path.display());
            for certificate in certificates(pem).map_err(of_file)? {
                roots
                    .add(certificate)
                    .map_err(|err| of_file(&format!("has no usable CA: {err}")))?;
            }
        }
        if roots.is_empty() { Err(format!("{field} holds no certificate")) } else { Ok(roots) }
    }
}

/// The visible files of a folder, in order.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Follows links: mounted secrets are links to files.
        if !is_hidden && fs::metadata(entry.path())?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or("has no certificate in PEM")
}

fn system_roots() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|err| format!(": {err}")).unwrap_or_default();
        return Err(format!("tls.ca_file is needed: this system trusts no CA{why}"));
    }
    Ok(Arc::new(roots))
}

fn unreadable(field: &str, path: &Path, err: &io::Error) -> String {
    format!("{field} '{}' cannot be read: {err}", path.display())
}

/// Accepts every certificate of the agent; signatures are still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Offers HTTP/2 unless the configuration names protocols. Without it, the agent speaks
/// HTTP/1.1: one connection per blocking read.
pub(super) fn with_http_2(mut tls: Arc<ClientConfig>) -> Arc<ClientConfig> {
    if tls.alpn_protocols.is_empty() {
        Arc::make_mut(&mut tls).alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    tls
}
