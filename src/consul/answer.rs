//! Reads a reply: its JSON, its text, and the error it stands for when it proves nothing.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    consul::{fact::Trouble, wire::WireReply},
    escape::{escaped, shortened},
    key::is_portable,
    secret::Secret,
};

/// The longest excerpt of a reply that an error carries, in characters.
const EXCERPT: usize = 200;

/// A reply, and the token that no excerpt of it may contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    reply: &'a WireReply,
    token: Option<&'a Secret>,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(reply: &'a WireReply, token: Option<&'a Secret>) -> Self {
        Self { reply, token }
    }

    pub(super) fn status(self) -> u16 {
        self.reply.status
    }

    pub(super) fn body(self) -> &'a [u8] {
        &self.reply.body
    }

    /// `X-Consul-Index`, if a read can continue from it.
    pub(super) fn index(self) -> Option<u64> {
        self.reply.index.filter(|index| *index >= 1)
    }

    /// The body as JSON.
    pub(super) fn json<T: Deserialize<'a>>(self) -> Option<T> {
        serde_json::from_slice(&self.reply.body).ok()
    }

    /// The body as trimmed text.
    pub(super) fn text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.reply.body.trim_ascii())
    }

    /// Returns `text` for use in an error: one short, escaped line without the token.
    pub(super) fn excerpt(self, text: &str) -> String {
        // The answer may be long, and only its beginning is shown.
        let longest = self.token.map_or(0, |token| token.expose().len());
        let (mut line, is_cut) = beginning(text, 2 * EXCERPT + longest);
        if let Some(token) = self.token {
            line = token.strike_from(line);
        }
        if is_cut {
            // The end may be a part of the token.
            let end =
                line.char_indices().rev().take(longest).last().map_or(line.len(), |(at, _)| at);
            line.truncate(end);
        }
        shortened(&escaped(&line), EXCERPT)
    }

    fn words(self) -> String {
        self.excerpt(&self.text())
    }

    /// Whether the body is markup, which only a proxy or another server sends.
    fn is_markup(self) -> bool {
        self.reply.body.trim_ascii_start().starts_with(b"<")
    }

    /// Returns the missing right if Consul denied the request, which needs `right`. An
    /// unknown token is a [`trouble`](Self::trouble): waiting may help.
    pub(super) fn denied(self, right: &str) -> Option<String> {
        if self.reply.status != 403 || self.is_markup() {
            return None;
        }
        Some(match Denial::of(&self.text()) {
            Some(Denial::Right) => right.into(),
            Some(Denial::Token) => return None,
            None => format!("{right} (it said: {})", self.words()),
        })
    }

    /// Returns the reply's text if it refuses the name of the key or prefix that was read.
    /// A proxy's 400 does not say why; it counts if the name is not portable.
    pub(super) fn name_refused(self, name: &str) -> Option<String> {
        let status = self.reply.status;
        let by_consul = matches!(status, 400 | 500) && self.text().starts_with("invalid key name");
        let by_proxy = status == 400 && !is_portable(name);
        (by_consul || by_proxy).then(|| self.excerpt(&format!("status {status}: {}", self.words())))
    }

    /// Returns the reply's text if it refuses the name in a transaction.
    pub(super) fn name_refused_in_transaction(self) -> Option<String> {
        let text = self.text();
        let name = text.strip_prefix("Invalid key in transaction: ").unwrap_or(&text);
        let refused =
            matches!(self.reply.status, 400 | 500) && name.starts_with("invalid key name");
        refused.then(|| self.excerpt(&format!("status {}: {}", self.reply.status, self.words())))
    }

    /// Whether Consul does not know the token, so that the request had no effect.
    pub(super) fn lacks_token(self) -> bool {
        self.reply.status == 403 && Denial::of(&self.text()) == Some(Denial::Token)
    }

    /// Returns the trouble of a reply that proves nothing about the request.
    pub(super) fn trouble(self) -> Trouble {
        let status = self.reply.status;
        match status {
            300..=399 => Trouble::NotConsul(format!("a redirect, status {status}")),
            403 if self.lacks_token() => Trouble::UnknownToken,
            400 | 409 | 413 | 429 | 500..=599 if !self.is_markup() => self.server(&self.words()),
            _ if self.reply.body.is_empty() => {
                Trouble::NotConsul(format!("status {status} without a body"))
            }
            _ => Trouble::NotConsul(self.excerpt(&format!("status {status}: {}", self.words()))),
        }
    }

    /// Returns `text` as the agent's own error.
    pub(super) fn server(self, text: &str) -> Trouble {
        Trouble::Server { status: self.reply.status, text: self.excerpt(text) }
    }
}

/// The first `most` characters of `text` on one line, without control characters, and
/// whether more follow.
fn beginning(text: &str, most: usize) -> (String, bool) {
    let (mut line, mut count) = (String::new(), 0);
    for (place, word) in text.split_whitespace().enumerate() {
        let blank = (place > 0).then_some(' ');
        for c in blank.into_iter().chain(word.chars().filter(|c| !c.is_control())) {
            if count == most {
                return (line, true);
            }
            line.push(c);
            count += 1;
        }
    }
    (line, false)
}

/// A server's text, which a client agent or a follower passes on with a prefix.
pub(super) fn without_hops(mut text: &str) -> &str {
    while let Some(rest) = text.strip_prefix("rpc error making call: ") {
        text = rest;
    }
    text
}

/// The missing right if Consul does not know the token.
pub(super) const NO_TOKEN: &str = "any right (it does not know the configured ACL token)";

/// Consul's reason for denying a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// The token lacks a right.
    Right,
    /// Consul does not know the token.
    Token,
}

impl Denial {
    /// Parses a denial. Only the beginning of `text` counts: the rest may quote a key.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = without_hops(text);
        let is = |words: &str| {
            text.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        if is("Permission denied") {
            Some(Self::Right)
        } else if is("ACL not found") {
            Some(Self::Token)
        } else {
            None
        }
    }

    /// Returns the missing right; the request needs `right`.
    pub(super) fn right(self, right: &str) -> String {
        match self {
            Self::Right => right.into(),
            Self::Token => NO_TOKEN.into(),
        }
    }
}

#[cfg(test)]
mod tests;
