//! The parsers, for fuzzers.

use crate::consul::{
    fact::{Fence, SessionId},
    reply::{self, Answer},
    wire::WireReply,
};

/// Reads a reply in every way there is.
pub fn replies(status: u16, index: Option<u64>, body: &[u8]) {
    let reply = WireReply { status, index, body: body.to_vec() };
    let answer = Answer::new(&reply, None);
    let id = SessionId::from("ee474eed-262a-2872-71c3-42544dd66dce");
    reply::created(answer);
    reply::renewed(answer, &id);
    reply::session_seen(answer, &id);
    reply::destroyed(answer);
    reply::seen(answer, "k");
    reply::listed(answer, "p/k", 2);
    for fence in [Fence::Unraised, Fence::At(3), Fence::Unusable] {
        reply::locked(answer, "k", "f", &id, fence);
        reply::raised(answer, "f", fence);
    }
    reply::released(answer, "k", &id, false);
    reply::released(answer, "k", &id, true);
    reply::fence_deleted(answer, "f");
}
