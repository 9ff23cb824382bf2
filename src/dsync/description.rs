//! What a process writes about itself into the keys that it holds.

use std::sync::Arc;

use serde_json::Value;

use crate::{error::ConfigError, host::url_host, value::LockValue};

/// The settings of the values of locks and leaders.
#[derive(Default)]
pub(super) struct Description {
    pub(super) value: Option<LockValue>,
    /// A host and a port.
    pub(super) advertised: Option<(String, u16)>,
    pub(super) path: Option<String>,
    pub(super) build: Option<String>,
}

impl Description {
    /// Returns the default value of a lock and the value of a leader.
    ///
    /// # Errors
    /// The setting that is invalid, or that goes with no other.
    pub(super) fn values(&self, service: &str) -> Result<(Arc<[u8]>, LockValue), ConfigError> {
        let Self { value, advertised, path, build } = self;
        let mut ours = of_process(service);
        if let Some((address, port)) = advertised {
            check_advertised(address, *port)?;
            ours["address"] = address.as_str().into();
            ours["port"] = (*port).into();
        }
        if let Some(path) = path {
            check_path(path)?;
            ours["path"] = path.as_str().into();
        }
        if let Some(build) = build {
            ours["build"] = build.as_str().into();
        }
        let has_fields = advertised.is_some() || path.is_some() || build.is_some();
        if has_fields && value.as_ref().is_some_and(|value| !value.is_object()) {
            let why = "the value is no JSON object, so that the fields of advertise, \
                       advertise_path and build cannot be added to it";
            return Err(ConfigError::Conflict(why.into()));
        }
        if path.is_some() && advertised.is_none() {
            return Err(ConfigError::Conflict("advertise_path needs advertise".into()));
        }
        let ours = LockValue::Json(ours);
        let value = value.clone().unwrap_or_else(|| ours.clone());
        let in_config = |error| ConfigError::Conflict(format!("the {error}"));
        Ok((value.to_bytes().map_err(in_config)?.into(), value.extending(&ours)))
    }
}

/// The default value: a description of this process.
fn of_process(service: &str) -> Value {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let binary = std::env::current_exe().ok();
    let binary = binary.as_deref().and_then(std::path::Path::file_name);
    let binary = binary.map(|name| name.to_string_lossy().into_owned());
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    serde_json::json!({
        "service": service,
        "binary": binary,
        "host": host,
        "pid": std::process::id(),
        "started": started,
    })
}

fn check_advertised(address: &str, port: u16) -> Result<(), ConfigError> {
    if url_host(address).is_some() && port != 0 {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        field: "advertise",
        value: format!("{address:?} with port {port}"),
        range: "a host name or an IP address at which others reach this process, without scheme, \
                port or brackets, and a port from 1"
            .into(),
    })
}

/// Checks that it is the path of a URL, and no more.
fn check_path(path: &str) -> Result<(), ConfigError> {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte);
    let is_absolute = path.starts_with('/') && !path.starts_with("//");
    if is_absolute && path.len() <= 1024 && path.bytes().all(is_plain) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        field: "advertise_path",
        value: format!("{path:?}"),
        range: "a path of at most 1024 bytes that begins with a slash, without query and spaces, \
                escaped as in a URL"
            .into(),
    })
}
