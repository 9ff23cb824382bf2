//! The settings, their defaults and their limits.

mod credentials;
mod environment;
mod limits;
mod timing;
mod tls;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::{credentials::Login, limits::Limits, timing::Timing, tls::TlsSettings};
pub use crate::secret::Secret;
use crate::{error::ConfigError, key::fault_of_path, secret::PathName, token::Era};

/// HashiCorp's flags for lock keys, which `consul lock` and the Go client write.
pub const HASHICORP_LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// The settings of a lock runtime.
///
/// Every field has a default; a configuration file can omit it. Durations are text:
/// `"15s"`, `"1m 30s"`, `"500ms"`. An unknown field is an error.
///
/// ```
/// let config: actix_dsync::Config = serde_json::from_str(
///     r#"{ "address": "consul.internal:8500", "timing": { "session_ttl": "30s" } }"#,
/// )?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The address of the Consul agent: `http://host:port`, `https://host:port`,
    /// `host:port` as in `CONSUL_HTTP_ADDR`, or `unix:///path/of/the.sock`. A path after the
    /// host, as in `https://gateway/consul`, is the prefix under which a reverse proxy
    /// serves Consul; the proxy must remove it. A host name is resolved for each new
    /// connection.
    ///
    /// Name one agent, preferably the one on the same host: a session ends with the node of
    /// the agent that created it. A load balancer before several agents is not supported.
    ///
    /// Default: `http://127.0.0.1:8500`.
    pub address: String,
    /// The ACL token. It needs `key:write` below the prefix and `session:write` on the
    /// agent's node. Without `session:read`, a session whose creation was not answered
    /// stays until its TTL. The token is never printed. Leading and trailing white space,
    /// such as the line break at the end of a mounted file, is ignored.
    ///
    /// Default: none.
    #[serde(skip_serializing)]
    pub token: Option<Secret>,
    /// A file with the ACL token. It is read again when it changes, within a second, and
    /// when Consul does not know the current token; a rotation loses no lock. While it is
    /// blank or cannot be read, the last token stays in use: at the start,
    /// [`token`](Config::token). A file that cannot be read at the start is an error.
    ///
    /// Default: none.
    pub token_file: Option<PathBuf>,
    /// Logs in with an auth method instead of using a fixed token.
    ///
    /// Default: none.
    pub login: Option<Login>,
    /// `user:password` for HTTP basic authentication at a proxy before Consul, as in
    /// `CONSUL_HTTP_AUTH`. It is never printed.
    ///
    /// Default: none.
    #[serde(skip_serializing)]
    pub http_auth: Option<Secret>,
    /// The trusted CAs and the client certificate for `https://` addresses.
    pub tls: TlsSettings,
    /// The namespace of the keys and the session; needs Consul Enterprise. Processes in
    /// different namespaces do not exclude each other.
    ///
    /// Default: none, which means the token's namespace.
    pub namespace: Option<String>,
    /// The admin partition of the keys and the session; needs Consul Enterprise.
    ///
    /// Default: none, which means the agent's partition.
    pub partition: Option<String>,
    /// The datacenter that every request names. It must be the agent's own: Consul binds a
    /// session to the agent's node, which no other datacenter knows. Set it so that an agent
    /// of another datacenter refuses the requests.
    ///
    /// Default: none, which means the agent's datacenter.
    pub datacenter: Option<String>,
    /// The path below which every key lies; a `/` separates them. At most 256 bytes;
    /// the rules of a [`Key`](crate::Key) apply.
    ///
    /// Default: none.
    pub prefix: Option<String>,
    /// How long sessions live and how soon a dead holder's locks pass on.
    pub timing: Timing,
    /// Whether a release deletes the key or keeps it.
    ///
    /// Default: [`Retention::Delete`].
    pub retention: Retention,
    /// The resources that this process may use.
    pub limits: Limits,
    /// The flags that mark a key as a lock of this service. A request for a key with other
    /// flags fails with [`Error::FlagConflict`](crate::Error::FlagConflict) and leaves the
    /// key unchanged.
    ///
    /// Default: [`HASHICORP_LOCK_FLAGS`].
    pub flags: u64,
    /// The number that orders the fencing tokens of successive histories of Consul's store:
    /// every token of an era is larger than all of earlier eras. Raise it by one, for all
    /// processes, when the servers start with an older snapshot or an empty store; see
    /// [fencing](crate::fencing). From 0 to 127.
    ///
    /// While some processes still have the earlier number, a protected resource refuses their
    /// writes once it has seen a token of the new one.
    ///
    /// Default: 0.
    pub era: u8,
    /// Ids of node checks that end the session when they turn critical, such as
    /// `serfHealth`. Without any, only the TTL, the node's departure and an operator end
    /// it. The lock-delay protects the holder in each case, and is part of the
    /// [lease](Timing::lease). With [`Timing::fast_failover`], which leaves it out, checks are
    /// refused. While a check is critical or does not exist, Consul creates no session, and
    /// nothing is granted.
    ///
    /// Default: none.
    pub node_checks: Vec<String>,
    /// Ids of checks of services on the agent's node, such as `service:web`, that end the
    /// session when they turn critical, as for [`node_checks`](Self::node_checks).
    ///
    /// Default: none.
    pub service_checks: Vec<String>,
    /// Whether metrics by key carry the label `key`; needs the feature `metrics`. Set it
    /// only if keys are few and fixed: the recorder keeps every key ever locked.
    ///
    /// Default: `false`.
    pub metrics_by_key: bool,
    /// A caller that holds a lock for this long, or waits for one, is reported once: as a
    /// warning in the log and as an [`Incident`](crate::report::Incident). Terms of leaders
    /// are not. At least 1 s, since holds are looked at once a second; with 10,000 keys,
    /// every eleven seconds, and with many more every 15 seconds.
    ///
    /// Default: none, which means that none is reported.
    #[serde(with = "humantime_serde")]
    pub warn_after: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:8500".into(),
            token: None,
            token_file: None,
            login: None,
            http_auth: None,
            tls: TlsSettings::default(),
            namespace: None,
            partition: None,
            datacenter: None,
            prefix: None,
            timing: Timing::default(),
            retention: Retention::default(),
            limits: Limits::default(),
            flags: HASHICORP_LOCK_FLAGS,
            era: 0,
            node_checks: Vec::new(),
            service_checks: Vec::new(),
            metrics_by_key: false,
            warn_after: None,
        }
    }
}

impl Config {
    /// The longest prefix, in bytes.
    pub const MAX_PREFIX_LEN: usize = 256;

    /// Checks every setting except the address.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_credentials()?;
        self.tls.check()?;
        for (field, name) in [
            ("namespace", &self.namespace),
            ("partition", &self.partition),
            ("datacenter", &self.datacenter),
        ] {
            if let Some(name) = name.as_ref().filter(|name| !is_name(name)) {
                return Err(ConfigError::OutOfRange {
                    field,
                    value: format!("{name:?}"),
                    range: "1 to 128 letters, digits, '-' and '_'".into(),
                });
            }
        }
        if let Some(prefix) = &self.prefix
            && let Some(why) = fault_of_path(prefix, Self::MAX_PREFIX_LEN)
        {
            return Err(ConfigError::Conflict(format!("prefix {why}")));
        }
        if let Some(span) = self.warn_after.filter(|span| *span < SHORTEST_WARNING) {
            return Err(ConfigError::OutOfRange {
                field: "warn_after",
                value: format!("{span:?}"),
                range: "at least 1 s".into(),
            });
        }
        if Era::new(self.era).is_none() {
            return Err(ConfigError::OutOfRange {
                field: "era",
                value: self.era.to_string(),
                range: format!("0 to {}", Era::LAST),
            });
        }
        self.timing.check()?;
        let is_bound = !self.node_checks.is_empty() || !self.service_checks.is_empty();
        if is_bound && self.timing.fast_failover {
            let why = "node_checks and service_checks end the session before its TTL, and \
                       timing.fast_failover leaves the lock-delay, which protects then, out of \
                       the lease: use one or the other";
            return Err(ConfigError::Conflict(why.into()));
        }
        self.limits.check()
    }

    /// The era of the tokens.
    pub(crate) fn checked_era(&self) -> Era {
        // Checked before.
        Era::new(self.era).unwrap_or_default()
    }
}

/// # Errors
/// The path seems to be what its file should hold, which is not repeated.
fn check_path(field: &str, path: Option<&Path>) -> Result<(), ConfigError> {
    match path.filter(|path| PathName(path).is_secret()) {
        None => Ok(()),
        Some(_) => {
            let why = format!("{field} seems to hold the content itself; give its path");
            Err(ConfigError::Conflict(why))
        }
    }
}

/// The shortest `warn_after`: holds and waits are checked once a second.
const SHORTEST_WARNING: Duration = Duration::from_secs(1);

/// Omits the token and the parts of the address that may hold secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            token,
            token_file,
            login,
            http_auth,
            tls,
            namespace,
            partition,
            datacenter,
            prefix,
            timing,
            retention,
            limits,
            flags,
            era,
            node_checks,
            service_checks,
            metrics_by_key,
            warn_after,
        } = self;
        f.debug_struct("Config")
            .field("address", &without_secrets(address))
            .field("token", token)
            .field("token_file", &token_file.as_deref().map(PathName))
            .field("login", login)
            .field("http_auth", http_auth)
            .field("tls", tls)
            .field("namespace", namespace)
            .field("partition", partition)
            .field("datacenter", datacenter)
            .field("prefix", prefix)
            .field("timing", timing)
            .field("retention", retention)
            .field("limits", limits)
            .field("flags", flags)
            .field("era", era)
            .field("node_checks", node_checks)
            .field("service_checks", service_checks)
            .field("metrics_by_key", metrics_by_key)
            .field("warn_after", warn_after)
            .finish()
    }
}

/// Whether it can be the name of a namespace, partition or datacenter.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Returns the address without user, path, query and fragment, which may hold secrets.
fn without_secrets(address: &str) -> String {
    const HIDDEN: &str = "(..)";
    let (scheme, rest) = match address.split_once("://") {
        // A file's path is no secret.
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("unix") => return address.to_owned(),
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        Some(_) => return HIDDEN.into(),
        None => (String::new(), address),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    // Either the password has such a character, or the query has an '@'.
    if after.contains('@') {
        return format!("{scheme}{HIDDEN}");
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    if !has_plain_port(host) {
        return format!("{scheme}{HIDDEN}");
    }
    match host.len() == rest.trim_end_matches('/').len() {
        true => format!("{scheme}{host}"),
        false => format!("{scheme}{host} {HIDDEN}"),
    }
}

/// Whether the text after the host is a number or absent. Otherwise it may be a password, and
/// the host a user.
pub(crate) fn has_plain_port(authority: &str) -> bool {
    let host_ends = authority.rfind(']').unwrap_or_default();
    let port = authority[host_ends..].split_once(':').map_or("", |(_, port)| port);
    port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it can be the scheme of a URL. Otherwise it may be a user and a password.
pub(crate) fn is_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// What a release does with the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Retention {
    /// Deletes the key, so that short-lived keys do not accumulate. After a crash, the
    /// keys that the process held remain, unlocked, until their next use.
    #[default]
    Delete,
    /// Unlocks the key and keeps its value.
    Keep,
}

#[cfg(test)]
mod tests;
