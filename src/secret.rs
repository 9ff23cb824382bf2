//! A text that must not be shown.

use std::fmt;

/// An ACL token, or another text that no log and no error may contain.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the secret struck out.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing_of_itself() {
        let secret = Secret::new("8f2c-top");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.strike_from("token=8f2c-top;".into()), "token=(secret);");
        assert_eq!(Secret::new("").strike_from("plain".into()), "plain");
    }
}
