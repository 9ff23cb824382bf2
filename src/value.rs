//! The value that a held lock's key carries.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The value that a key carries while its lock is held.
///
/// By default it names the service, the host and the process, so that a process
/// that is refused the lock can report the holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockValue {
    /// Bytes, written unchanged.
    Bytes(Vec<u8>),
    /// A JSON document.
    Json(serde_json::Value),
}

impl LockValue {
    /// The longest value, in bytes: 360 KiB.
    ///
    /// A transaction carries the value base64-encoded, and Consul refuses requests
    /// over 512 KiB by default.
    pub const MAX_LEN: usize = 360 * 1024;

    /// Serializes a value as JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field `value` if it cannot be serialized.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        serde_json::to_value(value)
            .map(Self::Json)
            .map_err(|err| Error::Invalid { field: "value", why: format!("is no JSON: {err}") })
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Self::Json(serde_json::Value::Object(_)))
    }

    /// If both values are JSON objects, `other` with this value's fields added or
    /// replaced; otherwise this value.
    pub(crate) fn extending(self, other: &Self) -> Self {
        match (self, other) {
            (
                Self::Json(serde_json::Value::Object(mine)),
                Self::Json(serde_json::Value::Object(other)),
            ) => {
                let mut all = other.clone();
                all.extend(mine);
                Self::Json(serde_json::Value::Object(all))
            }
            (this, _) => this,
        }
    }

    /// The bytes to store.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field `value` if they are longer than
    /// [`LockValue::MAX_LEN`].
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Json(json) => json.to_string().into_bytes(),
        };
        if bytes.len() > Self::MAX_LEN {
            let why = format!("has {} bytes; at most {} are allowed", bytes.len(), Self::MAX_LEN);
            return Err(Error::Invalid { field: "value", why });
        }
        Ok(bytes)
    }
}

impl From<Vec<u8>> for LockValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&str> for LockValue {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<String> for LockValue {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<serde_json::Value> for LockValue {
    fn from(json: serde_json::Value) -> Self {
        Self::Json(json)
    }
}

/// The longest value that [`parsed`] reads, in bytes.
pub(crate) const LONGEST_PARSED: usize = 8 * 1_024;

/// A leader's value as JSON of this form. A value may have 512 KiB, and some are parsed for
/// each request, so a long one is not.
pub(crate) fn parsed<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Option<T> {
    let value = Some(value).filter(|value| value.len() <= LONGEST_PARSED)?;
    serde_json::from_slice(value).ok()
}

#[cfg(test)]
mod tests;
