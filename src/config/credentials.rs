//! How a process proves who it is.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Config, check_path};
use crate::{
    error::ConfigError,
    secret::{PathName, Secret},
};

/// A login with an ACL auth method, such as a Kubernetes service account's.
///
/// The runtime logs in before its first request, again before the token expires, and again
/// when Consul does not know the token. It logs out at the end of
/// [`shutdown`](crate::Dsync::shutdown). A new login loses no lock.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Login {
    /// The name of the auth method. Required.
    pub auth_method: String,
    /// The file with the bearer token, which is read for each login. Required.
    pub bearer_token_file: PathBuf,
    /// Metadata of this process, which Consul shows with the created token.
    ///
    /// Default: empty.
    pub meta: BTreeMap<String, String>,
}

impl Login {
    /// A login with this auth method and bearer token.
    #[must_use]
    pub fn new(auth_method: impl Into<String>, bearer_token_file: impl Into<PathBuf>) -> Self {
        Self {
            auth_method: auth_method.into(),
            bearer_token_file: bearer_token_file.into(),
            meta: BTreeMap::new(),
        }
    }

    /// Adds an entry to [`meta`](Login::meta).
    #[must_use]
    pub fn with_meta(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(name.into(), value.into());
        self
    }
}

/// Omits what a file's path would not be: a token in its place.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { auth_method, bearer_token_file, meta } = self;
        f.debug_struct("Login")
            .field("auth_method", auth_method)
            .field("bearer_token_file", &PathName(bearer_token_file))
            .field("meta", meta)
            .finish()
    }
}

impl Config {
    pub(super) fn check_credentials(&self) -> Result<(), ConfigError> {
        for (field, secret) in [("token", &self.token), ("http_auth", &self.http_auth)] {
            let fits = |secret: &Secret| match field {
                "token" => secret.fits_a_header(),
                _ => secret.is_text(),
            };
            if secret.as_ref().is_some_and(|secret| !fits(secret)) {
                return Err(ConfigError::OutOfRange {
                    field,
                    value: "a text that is not shown".into(),
                    range: match field {
                        "token" => {
                            "visible ASCII characters without a space or a line break inside"
                        }
                        _ => "user:password without a control character",
                    }
                    .into(),
                });
            }
        }
        check_path("token_file", self.token_file.as_deref())?;
        let Some(login) = &self.login else { return Ok(()) };
        check_path("login.bearer_token_file", Some(&login.bearer_token_file))?;
        let has_token = self.token.as_ref().is_some_and(|token| !token.is_blank());
        if has_token || self.token_file.is_some() {
            return Err(ConfigError::Conflict(
                "login and a token are both set; remove one of them".into(),
            ));
        }
        let (field, is_empty) = match login {
            login if login.auth_method.is_empty() => ("login.auth_method", true),
            login => ("login.bearer_token_file", login.bearer_token_file.as_os_str().is_empty()),
        };
        if is_empty {
            return Err(ConfigError::Conflict(format!("{field} is missing")));
        }
        Ok(())
    }
}
