//! A secret that does not appear in logs, errors or `Debug` output.

use std::{fmt, path::Path};

use serde::{Deserialize, Deserializer, de};

/// A secret text, such as an ACL token, that is never printed.
///
/// Blanks and line breaks around it are dropped: a file that holds a secret often
/// ends in one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().trim().to_owned())
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it can be sent in a header as it is.
    pub(crate) fn fits_a_header(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Whether it has no control character.
    pub(crate) fn is_text(&self) -> bool {
        !self.0.contains(char::is_control)
    }

    /// The text, for the one request header that carries it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Another secret that is as valid as this one.
    #[cfg(test)]
    pub(crate) fn like(&self) -> Self {
        Self::new(match (self.is_blank(), self.is_text(), self.fits_a_header()) {
            (true, ..) => "",
            (_, false, _) => "an\u{1}other",
            (_, _, false) => "an other",
            _ => "another",
        })
    }

    /// `text` with every occurrence of the secret redacted.
    pub(crate) fn strike_from(&self, text: String) -> String {
        if self.0.is_empty() || !text.contains(&self.0) {
            return text;
        }
        text.replace(&self.0, "(secret)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        /// The error of the default methods repeats what was found.
        impl de::Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom("a secret must be a text, in quotes"))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                self.visit_bool(true)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                self.visit_bool(true)
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
                self.visit_bool(true)
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
                self.visit_bool(true)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                self.visit_bool(true)
            }
        }

        // A request for a text would report a number that it finds.
        deserializer.deserialize_any(Text)
    }
}

/// The path of a file that holds a secret. `Debug` omits what seems to be the secret itself.
pub(crate) struct PathName<'a>(pub(crate) &'a Path);

impl PathName<'_> {
    /// Whether it seems to be the secret itself: the text of a PEM file, an ACL token (a UUID)
    /// or a bearer token (a JWT).
    pub(crate) fn is_secret(&self) -> bool {
        let text = self.0.to_string_lossy();
        let text = text.trim();
        let is_uuid = || {
            let dashes = [8, 13, 18, 23];
            let fits = |(at, byte): (usize, u8)| {
                if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
            };
            text.len() == 36 && text.bytes().enumerate().all(fits)
        };
        let is_jwt = || text.starts_with("eyJ") && text.matches('.').count() == 2;
        text.contains("-----BEGIN ") || is_uuid() || is_jwt()
    }
}

impl fmt::Debug for PathName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_secret() { f.write_str("(secret)") } else { self.0.fmt(f) }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests;
