//! What an agent is like: its version, its limits, and the rights that its clients have.

use std::sync::Arc;

use super::{
    Embedded,
    engine::{EmbeddedRight, Expiry},
};

impl Embedded {
    /// Sets whether sessions end exactly at their TTL, the earliest instant that
    /// Consul's contract allows.
    ///
    /// Default: `false`; sessions end at twice their TTL, as on Consul's servers.
    /// A live session keeps its current timer until it is renewed.
    #[must_use]
    pub fn strict_ttl(self, strict: bool) -> Self {
        let expiry = if strict { Expiry::Ttl } else { Expiry::TwiceTtl };
        self.agent.operate(|engine, _| engine.settings_mut().expiry = expiry);
        self
    }

    /// Seeds the agent's random numbers. Default: 0.
    ///
    /// Agents with different seeds create different session ids.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.agent.operate(|engine, _| engine.reseed(seed));
        self
    }

    /// Sets the name of the agent's node. Default: `embedded`.
    #[must_use]
    pub fn node(self, name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        self.agent.operate(|engine, _| engine.settings_mut().node = name);
        self
    }

    /// Sets whether `/v1/kv/` refuses names of keys as Consul 1.21.5 does: all with a
    /// character other than `A-Z a-z 0-9 , _ . / - ? & =`, and those with `..`.
    ///
    /// Default: `false`. Transactions take every name, there as here. The rule and its
    /// text are those of the pull request 22682 and the issues 22822 and 22835 of
    /// `hashicorp/consul`; they were not measured.
    #[must_use]
    pub fn strict_names(self, strict: bool) -> Self {
        self.agent.operate(|engine, _| engine.settings_mut().strict_names = strict);
        self
    }

    /// Sets whether the agent behaves as Consul 1.21 where that differs from 1.8.7 and
    /// matters to locks.
    ///
    /// Default: `false`, unless the environment variable `DSYNC_EMBEDDED` is `newer` when the
    /// agent is created; so a whole test suite can run against both. What differs, by the
    /// sources in `hashicorp/consul`; nothing of it was measured:
    ///
    /// - A transaction has up to 128 operations (pull request 14599, version 1.14).
    /// - Writes to other keys do not wake a blocking read of a missing key or an empty prefix
    ///   (pull request 12110, version 1.12).
    /// - Beyond the limit of [`connections`](Self::connections), a new connection is answered 429
    ///   with a text before it is closed (pull request 8221, version 1.9; `connlimit.go` of
    ///   `hashicorp/go-connlimit`).
    /// - A denial names the token, the right and the key (pull request 12620, version 1.12;
    ///   `acl/errors.go`). Denials in the status 403 are those that a client agent forwards: they
    ///   begin with `rpc error making call: `.
    /// - `/v1/agent/self` says 1.21.0.
    ///
    /// [`strict_names`](Self::strict_names) and [`request_rate`](Self::request_rate) model
    /// differences that depend on the configuration or on the patch release.
    #[must_use]
    pub fn newer(self, newer: bool) -> Self {
        self.agent.operate(|engine, _| engine.settings_mut().newer = newer);
        self
    }

    /// Limits the requests that the agent answers in each second, like `request_limits` of
    /// Consul 1.15 and later. Beyond that, a read is answered 429 and a write 503, with
    /// Consul's texts (`agent/consul/rate/handler.go`).
    ///
    /// There is no `Retry-After`: Consul sends none.
    ///
    /// Default: `None`, no limit.
    #[must_use]
    pub fn request_rate(self, most: Option<u32>) -> Self {
        self.agent.operate(|engine, _| engine.settings_mut().request_rate = most);
        self
    }

    /// Limits the open connections of each client address to each [served](Embedded::serve)
    /// port, like `http_max_conns_per_client`, whose default is 200. A connection beyond it is
    /// closed at once, without an answer unless the agent is a [`newer`](Self::newer) one.
    ///
    /// Default: `None`, no limit. A lower limit closes no connection.
    #[must_use]
    pub fn connections(self, most: Option<usize>) -> Self {
        self.agent.operate(|engine, _| engine.settings_mut().connections = most);
        self
    }

    /// Withdraws a right from all clients, or gives it back. All rights are allowed at first.
    ///
    /// As in Consul, a blocking read of a key that waits already still returns the key. One of a
    /// prefix or of sessions returns what may be seen at its end, which was not compared with
    /// Consul.
    pub fn allow(&self, right: EmbeddedRight, is_allowed: bool) {
        self.agent.operate(|engine, _| engine.allow(right, is_allowed));
    }
}
