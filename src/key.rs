//! Valid names of locks.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{error::Error, escape::is_printable};

/// The name of a lock: a key in Consul's store, below the runtime's prefix.
///
/// A key is validated when it is created, so every message that carries one is
/// valid. These rules apply:
///
/// - It has 1 to [`Key::MAX_LEN`] bytes of UTF-8 and no unprintable character (a line
///   break, a mark that changes the direction of text, a space other than the plain
///   one): Consul refuses to read such a key.
/// - Its segments, separated by `/`, are not empty and not `.` or `..`: Consul
///   would redirect such a request to another key.
/// - No segment is `.dsync`: this crate keeps its own entries there.
///
/// Some servers refuse further names, though a lock can be created under them: Consul
/// 1.21.5 reads only keys of `A-Z a-z 0-9 , - _ . / = ? &`, without `..`; later versions
/// refuse a space at either end; some proxies refuse an escaped `%` or `/`. The runtime
/// then reads such a key by transactions, which they accept. A transaction cannot wait for
/// a change, so the key is read every 1 to 2 s instead. If transactions refuse the name as
/// well, requests fail with [`Error::NameRefused`]. [`Key::join`] makes keys that pass
/// everywhere.
///
/// ```
/// use actix_dsync::Key;
///
/// let fixed = Key::new("jobs/nightly")?;
/// let from_input = Key::join(["orders", "2024/17"])?;
/// assert_eq!(from_input.as_str(), "orders/2024=2F17");
/// # Ok::<(), actix_dsync::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

impl Key {
    /// The longest key, in bytes: 1024.
    pub const MAX_LEN: usize = 1024;

    /// Creates a key from a complete name; `/` separates segments.
    ///
    /// Use [`Key::join`] for segments from untrusted input.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field `key` and the rule that is violated.
    pub fn new(key: impl AsRef<str>) -> Result<Self, Error> {
        let key = key.as_ref();
        match fault_of_path(key, Self::MAX_LEN) {
            Some(why) => Err(Error::Invalid { field: "key", why }),
            None => Ok(Self(key.into())),
        }
    }

    /// Joins segments with `/`.
    ///
    /// ASCII letters, digits, `-`, `_`, `,` and single dots stay as they are. Every other
    /// byte of a segment becomes `=` and two hexadecimal digits, and so does every byte of
    /// the segments `.`, `..` and `.dsync`. Different lists of segments therefore give
    /// different keys, and every version of Consul and every proxy accepts them.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no segment, if one is empty, or if the result
    /// is too long.
    pub fn join<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let mut key = String::new();
        for (place, segment) in segments.into_iter().enumerate() {
            if place > 0 {
                key.push('/');
            }
            let segment = segment.as_ref();
            let reserved = matches!(segment, "." | ".." | RESERVED);
            for byte in segment.bytes() {
                let repeats_dot = byte == b'.' && key.ends_with('.');
                if reserved || repeats_dot || matches!(byte, b'/' | b'=') || !is_plain(byte) {
                    key.push_str(&format!("={byte:02X}"));
                } else {
                    key.push(char::from(byte));
                }
            }
        }
        Self::new(key)
    }

    /// The key as text, without the runtime's prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The segment under which this crate keeps entries that are not locks.
pub(crate) const RESERVED: &str = ".dsync";

/// Whether every version of Consul and every proxy accepts the byte in a key.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.,/=".contains(&byte)
}

/// Whether every version of Consul and every proxy accepts the key.
pub(crate) fn is_portable(path: &str) -> bool {
    path.bytes().all(is_plain) && !path.contains("..")
}

/// The rule that `path` violates as a key or as a prefix of keys, if any.
pub(crate) fn fault_of_path(path: &str, longest: usize) -> Option<String> {
    if path.is_empty() {
        return Some("is empty; give it at least one character".into());
    }
    if path.len() > longest {
        return Some(format!("has {} bytes; at most {longest} are allowed", path.len()));
    }
    if let Some(c) = path.chars().find(|c| !is_printable(*c)) {
        let code = c.escape_default();
        return Some(format!("contains the unprintable character '{code}'; remove or escape it"));
    }
    if path.starts_with('/') {
        return Some("begins with '/'; remove the leading slash".into());
    }
    if path.ends_with('/') {
        return Some("ends with '/'; remove the trailing slash".into());
    }
    path.split('/').find_map(|segment| match segment {
        "" => Some("contains '//'; no segment may be empty".into()),
        "." | ".." => Some(format!("contains the segment '{segment}'; escape or rename it")),
        RESERVED => {
            Some(format!("contains the segment '{RESERVED}', which is reserved; rename it"))
        }
        _ => None,
    })
}

impl TryFrom<&str> for Key {
    type Error = Error;

    fn try_from(key: &str) -> Result<Self, Error> {
        Self::new(key)
    }
}

impl TryFrom<String> for Key {
    type Error = Error;

    fn try_from(key: String) -> Result<Self, Error> {
        Self::new(key)
    }
}

impl std::str::FromStr for Key {
    type Err = Error;

    fn from_str(key: &str) -> Result<Self, Error> {
        Self::new(key)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.as_str().to_owned()
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", &*self.0)
    }
}

#[cfg(test)]
mod tests;
