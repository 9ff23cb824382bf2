//! The replies of the HTTP API.

use super::super::engine::{EmbeddedRight, Engine};
use crate::consul::wire::WireReply;

/// The kind of a reply's body, which decides its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// No `Content-Type`.
    Unnamed,
    Json,
    Text,
    Html,
    /// A stored value, byte for byte.
    Raw,
}

/// The Consul headers of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadMeta {
    /// `X-Consul-Index`.
    pub(crate) index: Option<u64>,
    /// `X-Consul-Knownleader`.
    pub(crate) known_leader: bool,
}

/// A reply with every header that Consul's HTTP server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content: Content,
    pub(crate) meta: Option<ReadMeta>,
    /// `Allow`: the endpoint's methods.
    pub(crate) allow: Option<String>,
    pub(crate) location: Option<String>,
    /// Whether an endpoint answered; its replies have a `Vary` header.
    pub(crate) routed: bool,
    /// Whether the server closes the connection after the reply.
    pub(crate) close: bool,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, content: Content, body: Vec<u8>) -> Self {
        Self {
            status,
            content,
            meta: None,
            allow: None,
            location: None,
            routed: true,
            close: false,
            body,
        }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, Content::Unnamed, Vec::new())
    }

    pub(super) fn text(status: u16, text: &str) -> Self {
        Self::new(status, Content::Text, text.into())
    }

    pub(super) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, Content::Json, body.into())
    }

    pub(super) fn raw(value: Vec<u8>) -> Self {
        Self::new(200, Content::Raw, value)
    }

    pub(super) fn flag(yes: bool) -> Self {
        Self::json(200, if yes { "true" } else { "false" })
    }

    pub(super) fn fault(fault: &super::super::engine::Fault) -> Self {
        Self::text(500, &fault.to_string())
    }

    /// Refuses the request if the agent does not know the token, or if the right for the key
    /// or node of this name is lacking.
    pub(super) fn check_right(
        engine: &Engine,
        right: EmbeddedRight,
        name: &[u8],
    ) -> Result<(), Self> {
        let unknown = engine.denial(EmbeddedRight::Token, b"");
        let Some(denial) = unknown.or_else(|| engine.denial(right, name)) else { return Ok(()) };
        let forwarded = if engine.is_newer() { "rpc error making call: " } else { "" };
        Err(Self::text(403, &format!("{forwarded}{denial}")))
    }

    /// Refuses the request if the agent does not know the token.
    pub(super) fn check_token(engine: &Engine) -> Result<(), Self> {
        Self::check_right(engine, EmbeddedRight::Token, b"")
    }

    pub(super) fn redirect(location: String, body: String) -> Self {
        let content = if body.is_empty() { Content::Unnamed } else { Content::Html };
        let mut reply = Self::new(301, content, body.into());
        reply.location = Some(location);
        reply.unrouted()
    }

    pub(super) fn not_allowed(method: &str, allowed: &[&str]) -> Self {
        let mut reply = match method {
            "OPTIONS" => Self::empty(200),
            _ => Self::text(405, &format!("method {method} not allowed")),
        };
        reply.allow = Some(format!("OPTIONS,{}", allowed.join(",")));
        reply
    }

    pub(super) fn unrouted(mut self) -> Self {
        self.routed = false;
        self
    }

    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(super) fn with_meta(mut self, index: Option<u64>, known_leader: bool) -> Self {
        self.meta = Some(ReadMeta { index, known_leader });
        self
    }
}

impl From<Reply> for WireReply {
    fn from(reply: Reply) -> Self {
        Self {
            status: reply.status,
            index: reply.meta.and_then(|meta| meta.index),
            body: reply.body,
        }
    }
}
