//! One HTTP exchange as plain data.

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
    /// Only a login and a logout use it.
    Post,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
        }
    }
}

/// One request to a Consul agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireRequest {
    pub(crate) method: Method,
    /// The escaped path and query: `/v1/kv/a%20b?index=7`.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    /// Whether the agent answers only after a change or a wait.
    pub(crate) blocks: bool,
}

impl WireRequest {
    pub(super) fn get(target: String) -> Self {
        Self { method: Method::Get, target, body: Vec::new(), blocks: false }
    }

    pub(super) fn blocking(target: String) -> Self {
        Self { blocks: true, ..Self::get(target) }
    }

    pub(super) fn post(target: String, body: Vec<u8>) -> Self {
        Self { method: Method::Post, target, body, blocks: false }
    }

    pub(super) fn put(target: String, body: Vec<u8>) -> Self {
        Self { method: Method::Put, target, body, blocks: false }
    }
}

/// One complete reply of a Consul agent, or of a server in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireReply {
    pub(crate) status: u16,
    /// The header `X-Consul-Index`, if it is present and a number.
    pub(crate) index: Option<u64>,
    pub(crate) body: Vec<u8>,
}
