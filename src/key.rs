//! Which names a lock can have.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{error::Error, escape::is_printable};

/// The name of a lock: a key in Consul's store, below the runtime's prefix.
///
/// A key is checked when it is made, so that every message which carries one is
/// valid. It is not empty, holds at most [`Key::MAX_LEN`] bytes of UTF-8 and no
/// unprintable character (a line break, a mark that changes the direction of text, a
/// space other than the plain one), which Consul refuses to read, and its segments, separated by `/`, are neither empty nor
/// `.` nor `..`, which Consul would answer with a redirect to another key, nor
/// `.dsync`, below which this crate keeps entries of its own.
///
/// ```
/// use actix_dsync::Key;
///
/// let fixed = Key::new("jobs/nightly")?;
/// let from_input = Key::join(["orders", "2024/17"])?;
/// assert_eq!(from_input.as_str(), "orders/2024%2F17");
/// # Ok::<(), actix_dsync::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

impl Key {
    /// The longest key, in bytes: 1024.
    pub const MAX_LEN: usize = 1024;

    /// Takes a key as it stands; `/` separates segments.
    ///
    /// Use [`Key::join`] for parts that come from outside.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field `key` and what is wrong with it.
    pub fn new(key: impl AsRef<str>) -> Result<Self, Error> {
        let key = key.as_ref();
        match fault_of_path(key, Self::MAX_LEN) {
            Some(why) => Err(Error::Invalid { field: "key", why }),
            None => Ok(Self(key.into())),
        }
    }

    /// Joins segments with `/`, escaping in each what would change the key's
    /// shape (`/`, `%`, unprintable characters, and the segments `.`, `..` and
    /// `.dsync`), so that different lists of segments give different keys.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no segment, one is empty, or the result
    /// is too long.
    pub fn join<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let mut key = String::new();
        for (place, segment) in segments.into_iter().enumerate() {
            if place > 0 {
                key.push('/');
            }
            let segment = segment.as_ref();
            let reserved = matches!(segment, "." | ".." | RESERVED);
            for c in segment.chars() {
                if c == '/' || c == '%' || !is_printable(c) || reserved {
                    let mut utf8 = [0; 4];
                    for byte in c.encode_utf8(&mut utf8).bytes() {
                        key.push_str(&format!("%{byte:02X}"));
                    }
                } else {
                    key.push(c);
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

/// The segment below which this crate keeps entries that are no locks.
pub(crate) const RESERVED: &str = ".dsync";

/// What is wrong with `path` as a key or a prefix of keys, if anything.
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
mod tests {
    use super::*;

    fn why(key: &str) -> String {
        match Key::new(key) {
            Err(Error::Invalid { field: "key", why }) => why,
            other => panic!("{key:?} gave {other:?}"),
        }
    }

    #[test]
    fn refuses_what_consul_would_redirect_or_reject_and_says_why() {
        for (key, word) in [
            ("", "empty"),
            ("/lead", "leading"),
            ("trail/", "trailing"),
            ("a//b", "'//'"),
            ("a/./b", "'.'"),
            ("../b", "'..'"),
            (".dsync", "reserved"),
            (".dsync/every/b", "reserved"),
            ("a/.dsync/b", "reserved"),
            ("a\0b", "unprintable"),
            ("a\u{202e}b", "unprintable character '\\u{202e}'"),
            ("a\u{a0}b", "unprintable"),
            ("a\nb", "unprintable"),
        ] {
            assert!(why(key).contains(word), "{key:?}: {}", why(key));
        }
        assert!(why(&"x".repeat(1 << 20)).contains("1048576 bytes"));
    }

    #[test]
    fn takes_spaces_unicode_and_url_characters_as_they_are() {
        for key in ["a b", "q?x=1&y#z", "100%", "größe/日本", "a+b", "...", "a..b"] {
            assert_eq!(Key::new(key).unwrap().as_str(), key);
        }
    }

    #[test]
    fn joining_never_makes_two_inputs_one_key() {
        let key = |parts: &[&str]| Key::join(parts).unwrap();
        assert_ne!(key(&["a", "b"]), key(&["a/b"]));
        assert_ne!(key(&["a%2Fb"]), key(&["a/b"]));
        assert_eq!(key(&["orders", ".."]).as_str(), "orders/%2E%2E");
        assert_eq!(key(&["a\nb"]).as_str(), "a%0Ab");
        assert_eq!(key(&["a", ".dsync"]).as_str(), "a/%2E%64%73%79%6E%63");
        assert!(Key::join(["orders", ""]).is_err());
        assert!(Key::join::<&str>([]).is_err());
    }

    #[test]
    fn reads_from_json_with_the_same_checks() {
        assert!(serde_json::from_str::<Key>("\"a/b\"").is_ok());
        assert!(serde_json::from_str::<Key>("\"a//b\"").is_err());
    }
}
