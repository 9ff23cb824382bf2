//! A reply seen as evidence: its JSON, its words, and what it means when it
//! proves nothing.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    consul::{fact::Trouble, wire::WireReply},
    escape::escaped,
    secret::Secret,
};

/// The longest excerpt of a reply that an error carries, in characters.
const EXCERPT: usize = 200;

/// A reply, and the secret that no text taken from it may contain.
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

    /// `X-Consul-Index`, where it is one that a read can continue from.
    pub(super) fn index(self) -> Option<u64> {
        self.reply.index.filter(|index| *index >= 1)
    }

    /// The whole body as one JSON document.
    pub(super) fn json(self) -> Option<Value> {
        serde_json::from_slice(&self.reply.body).ok()
    }

    /// The whole body as one text.
    pub(super) fn text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.reply.body.trim_ascii())
    }

    /// `text` made fit for an error: one line, short, without the secret.
    pub(super) fn excerpt(self, text: &str) -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut text: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
        if let Some(token) = self.token {
            text = token.strike_from(text);
        }
        let mut text = escaped(&text).into_owned();
        if let Some((end, _)) = text.char_indices().nth(EXCERPT) {
            let end = text[..end].char_indices().next_back().map_or(0, |(last, _)| last);
            text.truncate(end);
            text.push('…');
        }
        text
    }

    fn words(self) -> String {
        self.excerpt(&self.text())
    }

    /// Markup comes from a proxy or another server, whatever its status.
    fn is_markup(self) -> bool {
        self.reply.body.trim_ascii_start().starts_with(b"<")
    }

    /// What a refusal for want of rights lacked, if this is one; `right` is what
    /// the request needs.
    pub(super) fn denied(self, right: &str) -> Option<String> {
        if self.reply.status != 403 || self.is_markup() {
            return None;
        }
        Some(match Denial::of(&self.text()) {
            Some(denial) => denial.right(right),
            None => format!("{right} (it said: {})", self.words()),
        })
    }

    /// What this reply means when it proves nothing about the request.
    pub(super) fn trouble(self) -> Trouble {
        let status = self.reply.status;
        match status {
            300..=399 => Trouble::NotConsul(format!("a redirect, status {status}")),
            400 | 409 | 413 | 429 | 500..=599 if !self.is_markup() => self.server(&self.words()),
            _ if self.reply.body.is_empty() => {
                Trouble::NotConsul(format!("status {status} without a body"))
            }
            _ => Trouble::NotConsul(self.excerpt(&format!("status {status}: {}", self.words()))),
        }
    }

    /// The agent's own error.
    pub(super) fn server(self, text: &str) -> Trouble {
        Trouble::Server { status: self.reply.status, text: self.excerpt(text) }
    }
}

/// Consul does not know the token that the request carried.
pub(super) const NO_TOKEN: &str = "any right (it does not know the configured ACL token)";

/// A refusal for want of rights, in Consul's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// The token lacks a right.
    Right,
    /// Consul does not know the token.
    Token,
}

impl Denial {
    /// The refusal in `text`, if it is one. Only its beginning is looked at: what
    /// follows may quote a key.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut text = text;
        while let Some(rest) = text.strip_prefix("rpc error making call: ") {
            text = rest;
        }
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

    /// What was lacking; `right` is what the request needs.
    pub(super) fn right(self, right: &str) -> String {
        match self {
            Self::Right => right.into(),
            Self::Token => NO_TOKEN.into(),
        }
    }
}

#[cfg(test)]
mod tests;
