//! What a lock's key says about its holder.

use serde::Serialize;

use crate::error::Error;

/// The value that a key carries while its lock is held.
///
/// By default it names the service, the host and the process, so that whoever
/// is refused the lock can say who has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockValue {
    /// Bytes, written as they are.
    Bytes(Vec<u8>),
    /// A JSON document.
    Json(serde_json::Value),
}

impl LockValue {
    /// The longest value, in bytes: 360 KiB.
    ///
    /// A lock travels base64-encoded in a transaction, and Consul refuses
    /// requests over 512 KiB by default.
    pub const MAX_LEN: usize = 360 * 1024;

    /// The JSON document of any serializable value.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field `value` if it cannot be serialized.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        serde_json::to_value(value)
            .map(Self::Json)
            .map_err(|err| Error::Invalid { field: "value", why: format!("is no JSON: {err}") })
    }

    /// The fields of `other` with these added or in their place, if both are JSON
    /// objects; else this value.
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
    /// [`Error::Invalid`] with the field `value` if they are more than
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

impl From<serde_json::Value> for LockValue {
    fn from(json: serde_json::Value) -> Self {
        Self::Json(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_over_the_limit_is_refused_with_both_sizes() {
        let long = LockValue::Bytes(vec![0; LockValue::MAX_LEN + 1]);
        let Err(Error::Invalid { field: "value", why }) = long.to_bytes() else {
            panic!("accepted")
        };
        assert!(why.contains("368641") && why.contains("368640"), "{why}");
        assert!(LockValue::Bytes(vec![0; LockValue::MAX_LEN]).to_bytes().is_ok());
    }

    #[test]
    fn the_fields_of_an_object_extend_those_of_another_and_anything_else_replaces_it() {
        let base = LockValue::Json(serde_json::json!({"service": "orders", "pid": 7}));
        let mine = LockValue::Json(serde_json::json!({"pid": 8, "zone": "b"}));
        let both = serde_json::json!({"service": "orders", "pid": 8, "zone": "b"});
        assert_eq!(mine.extending(&base), LockValue::Json(both));
        let bytes = LockValue::from("plain");
        assert_eq!(bytes.clone().extending(&base), bytes);
        assert_eq!(base.clone().extending(&bytes), base);
    }

    #[test]
    fn what_cannot_be_json_is_refused_by_name() {
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(LockValue::json(&odd), Err(Error::Invalid { field: "value", .. })));
    }
}
