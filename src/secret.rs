//! A secret that does not appear in logs, errors or `Debug` output.

use std::fmt;

use serde::Deserialize;

/// A secret text, such as an ACL token, that is never printed.
///
/// Blanks and line breaks around it are dropped: a file that holds a secret often
/// ends in one.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
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
