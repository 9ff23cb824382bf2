//! TLS from files.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::check_path;
use crate::{error::ConfigError, secret::PathName};

/// The trusted CAs, the client certificate and the server's name for `https://` addresses.
/// All files are PEM. Needs the feature `tls`.
///
/// The files are read at the start and again for each new connection. Changed files apply to
/// new connections; files that cannot be read or do not fit together (a certificate that was
/// replaced before its key) are reported in the log, and the last good ones stay in use.
///
/// If the process has installed a default `CryptoProvider` for rustls, it is used; otherwise
/// `ring`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The file with the trusted CAs, as `CONSUL_CACERT`. Overrides
    /// [`ca_path`](TlsSettings::ca_path).
    ///
    /// Default: none. Without it and `ca_path`, the CAs of the operating system are trusted,
    /// or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. They are read once, at the start.
    pub ca_file: Option<PathBuf>,
    /// A folder whose files hold the trusted CAs, as `CONSUL_CAPATH`. Subfolders and hidden
    /// files are skipped.
    ///
    /// Default: none.
    pub ca_path: Option<PathBuf>,
    /// The file with this process's certificate and its intermediate CAs, as
    /// `CONSUL_CLIENT_CERT`. Needs [`client_key`](TlsSettings::client_key).
    ///
    /// Default: none.
    pub client_cert: Option<PathBuf>,
    /// The file with the private key of this process, as `CONSUL_CLIENT_KEY`.
    ///
    /// Default: none.
    pub client_key: Option<PathBuf>,
    /// The name that the agent's certificate must carry, as `CONSUL_TLS_SERVER_NAME`, such
    /// as `server.dc1.consul`.
    ///
    /// Default: the host of the address.
    pub server_name: Option<String>,
    /// Whether the agent's certificate is verified, as `CONSUL_HTTP_SSL_VERIFY`. If `false`,
    /// anybody between this process and the agent can read the token and grant any lock: use
    /// it for experiments only.
    ///
    /// Default: `true`.
    pub verify: bool,
    /// Whether a connection without TLS is refused, as `CONSUL_HTTP_SSL`. If `true`, the
    /// address must begin with `https://`.
    ///
    /// Default: `false`; any other of these settings has the same effect.
    pub required: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            ca_file: None,
            ca_path: None,
            client_cert: None,
            client_key: None,
            server_name: None,
            verify: true,
            required: false,
        }
    }
}

/// Omits what a file's path would not be: the text of a key in its place.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca_file, ca_path, client_cert, client_key, server_name, verify, required } =
            self;
        f.debug_struct("TlsSettings")
            .field("ca_file", &ca_file.as_deref().map(PathName))
            .field("ca_path", &ca_path.as_deref().map(PathName))
            .field("client_cert", &client_cert.as_deref().map(PathName))
            .field("client_key", &client_key.as_deref().map(PathName))
            .field("server_name", server_name)
            .field("verify", verify)
            .field("required", required)
            .finish()
    }
}

impl TlsSettings {
    /// Sets [`ca_file`](TlsSettings::ca_file).
    #[must_use]
    pub fn with_ca_file(self, ca_file: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(ca_file.into()), ..self }
    }

    /// Sets [`ca_path`](TlsSettings::ca_path).
    #[must_use]
    pub fn with_ca_path(self, ca_path: impl Into<PathBuf>) -> Self {
        Self { ca_path: Some(ca_path.into()), ..self }
    }

    /// Sets [`client_cert`](TlsSettings::client_cert) and
    /// [`client_key`](TlsSettings::client_key).
    #[must_use]
    pub fn with_client_cert(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { client_cert: Some(cert.into()), client_key: Some(key.into()), ..self }
    }

    /// Sets [`server_name`](TlsSettings::server_name).
    #[must_use]
    pub fn with_server_name(self, server_name: impl Into<String>) -> Self {
        Self { server_name: Some(server_name.into()), ..self }
    }

    /// Sets [`verify`](TlsSettings::verify).
    #[must_use]
    pub fn with_verify(self, verify: bool) -> Self {
        Self { verify, ..self }
    }

    /// Sets [`required`](TlsSettings::required).
    #[must_use]
    pub fn with_required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// The first setting that differs from its default; it asks for TLS.
    pub(crate) fn first_set(&self) -> Option<&'static str> {
        let Self { ca_file, ca_path, client_cert, client_key, server_name, verify, required } =
            self;
        let set = [
            ("tls.ca_file", ca_file.is_some()),
            ("tls.ca_path", ca_path.is_some()),
            ("tls.client_cert", client_cert.is_some()),
            ("tls.client_key", client_key.is_some()),
            ("tls.server_name", server_name.is_some()),
            ("tls.verify", !verify),
            ("tls.required (CONSUL_HTTP_SSL)", *required),
        ];
        set.into_iter().find_map(|(field, is_set)| is_set.then_some(field))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, path) in [
            ("tls.ca_file", &self.ca_file),
            ("tls.ca_path", &self.ca_path),
            ("tls.client_cert", &self.client_cert),
            ("tls.client_key", &self.client_key),
        ] {
            check_path(field, path.as_deref())?;
        }
        let lacking = match (&self.client_cert, &self.client_key) {
            (Some(_), None) => "tls.client_cert is set without tls.client_key",
            (None, Some(_)) => "tls.client_key is set without tls.client_cert",
            _ => return Ok(()),
        };
        Err(ConfigError::Conflict(format!("{lacking}; set both or neither")))
    }
}
