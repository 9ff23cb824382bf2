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
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> WireReply {
        WireReply { status, index: None, body: body.into() }
    }

    #[test]
    fn an_excerpt_is_short_printable_and_without_the_token() {
        let token = Secret::new("b1gs3cret-token");
        let page =
            format!("\u{7}x\u{0}\n\ty {}b1gs3cret\u{1}-token!{}", "z".repeat(150), "é".repeat(300));
        let reply = reply(500, &page);
        let Trouble::Server { status: 500, text } = Answer::new(&reply, Some(&token)).trouble()
        else {
            panic!("not a server's error")
        };
        assert!(text.starts_with("x y zzz"), "{text}");
        assert!(text.contains("(secret)!") && !text.contains("b1gs3cret"), "{text}");
        assert!(text.chars().count() == EXCERPT && text.ends_with('…'), "{text}");
        assert!(!text.chars().any(char::is_control));
    }

    #[test]
    fn trouble_says_whose_answer_it_was() {
        let trouble = |status, body: &str| Answer::new(&reply(status, body), None).trouble();
        let server = |status, text: &str| Trouble::Server { status, text: text.into() };
        for text in [
            "rpc error getting client: failed to get conn: dial tcp: connect: connection refused",
            "rpc error making call: EOF",
            "No cluster leader",
        ] {
            assert_eq!(trouble(500, text), server(500, text));
        }
        let busy =
            "Your IP is issuing too many concurrent connections, please rate limit your calls";
        assert_eq!(trouble(429, busy), server(429, busy));
        for (status, body, words) in [
            (200, "<!DOCTYPE html><html>Welcome</html>", "Welcome"),
            (502, "\n <html>Bad Gateway</html>", "status 502: <html>Bad Gateway"),
            (301, "", "a redirect, status 301"),
            (404, "404 page not found", "status 404: 404 page not found"),
            (204, "", "status 204 without a body"),
        ] {
            let Trouble::NotConsul(what) = trouble(status, body) else { panic!("{body}") };
            assert!(what.contains(words), "{what}");
        }
    }

    #[test]
    fn a_refusal_names_the_right_unless_it_is_a_proxys() {
        let denied = |body: &str| Answer::new(&reply(403, body), None).denied("session:write");
        assert_eq!(denied("Permission denied").as_deref(), Some("session:write"));
        assert_eq!(
            denied("rpc error making call: Permission denied").as_deref(),
            Some("session:write")
        );
        assert!(denied("ACL not found").is_some_and(|right| right.contains("ACL token")));
        assert!(denied("Access is restricted").is_some_and(|right| right.contains("restricted")));
        assert_eq!(denied("<html>Forbidden</html>"), None);
        assert_eq!(Answer::new(&reply(200, "Permission denied"), None).denied("x"), None);
    }
}
