//! The link to an agent: HTTP, or a backend supplied by the builder.

use futures::future::LocalBoxFuture;
use hyper::header::HeaderValue;

use super::{
    fact::Trouble,
    http::{Http, Purpose},
    limit::Limit,
    wire::{WireReply, WireRequest},
};

/// An agent that is reached without a socket.
pub(crate) trait Backend {
    /// Answers one request, a blocking read when Consul would. The caller enforces the time
    /// limit.
    fn exchange(&self, request: WireRequest) -> LocalBoxFuture<'_, Result<WireReply, Trouble>>;
}

/// The link to one agent.
#[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "handed in by features"))]
pub(super) enum Link {
    Http(Box<Http>),
    Backend(Box<dyn Backend>),
}

impl Link {
    /// Sends a request and waits within the limit for the complete reply. A backend needs no
    /// ACL token.
    ///
    /// # Cancel safety
    /// The agent may still act on a request whose future was dropped.
    pub(super) async fn exchange(
        &self,
        purpose: Purpose,
        request: &WireRequest,
        token: Option<&HeaderValue>,
        limit: impl Into<Limit>,
    ) -> Result<WireReply, Trouble> {
        match self {
            Self::Http(http) => http.exchange(purpose, request, token, limit).await,
            Self::Backend(backend) => {
                let limit: Limit = limit.into();
                tokio::time::timeout(limit.left(), backend.exchange(request.clone()))
                    .await
                    .unwrap_or(Err(Trouble::Timeout(limit.whole())))
            }
        }
    }
}
