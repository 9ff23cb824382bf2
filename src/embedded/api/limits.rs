//! Consul's limits on the length of a request body.

use super::{reply::Reply, target::KV};

/// The longest value, and the longest body of a transaction, in bytes.
pub(super) const MAX_BODY: usize = 512 * 1024;

/// Which limit applies to a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Value,
    Transaction,
}

/// The refusal of a body of `length` bytes if that exceeds the endpoint's limit,
/// so that a server need not read the body.
pub(crate) fn too_long(method: &str, target: &str, length: usize) -> Option<Reply> {
    let limit = match method {
        "PUT" if target.starts_with(KV) => Limit::Value,
        "PUT" if target.starts_with("/v1/txn") => Limit::Transaction,
        _ => return None,
    };
    check_length(limit, length).err()
}

pub(super) fn check_length(limit: Limit, length: usize) -> Result<(), Reply> {
    if length <= MAX_BODY {
        return Ok(());
    }
    let option = match limit {
        Limit::Value => "kv_max_value_size",
        Limit::Transaction => "txn_max_req_len",
    };
    let text = format!(
        "Request body({length} bytes) too large, max size: {MAX_BODY} bytes. \
         See https://www.consul.io/docs/agent/options.html#{option}."
    );
    Err(Reply::text(413, &text).closing())
}
