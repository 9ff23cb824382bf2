//! Consul's objects as compact JSON.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::super::engine::{OpFault, Pair, Session, TxnRow};
use crate::consul::fact::SessionId;

/// Appends `text` as a JSON string.
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a key. Like Go, replaces each byte that is not UTF-8 with U+FFFD.
pub(super) fn key(out: &mut String, key: &[u8]) {
    match std::str::from_utf8(key) {
        Ok(text) => string(out, text),
        Err(_) => {
            let mut text = String::new();
            for chunk in key.utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
            }
            string(out, &text);
        }
    }
}

/// Appends an entry of the key-value store.
pub(super) fn pair(out: &mut String, name: &[u8], pair: &Pair) {
    let _ = write!(out, "{{\"LockIndex\":{},\"Key\":", pair.lock_index);
    key(out, name);
    let _ = write!(out, ",\"Flags\":{},\"Value\":", pair.flags);
    if pair.value.is_empty() {
        out.push_str("null");
    } else {
        out.push('"');
        STANDARD.encode_string(&pair.value, out);
        out.push('"');
    }
    if let Some(session) = &pair.session {
        out.push_str(",\"Session\":");
        string(out, session.as_str());
    }
    let _ = write!(
        out,
        ",\"CreateIndex\":{},\"ModifyIndex\":{}}}",
        pair.create_index, pair.modify_index
    );
}

/// Appends a session.
pub(super) fn session(out: &mut String, id: &SessionId, session: &Session, node: &str) {
    out.push_str("{\"ID\":");
    string(out, id.as_str());
    out.push_str(",\"Name\":");
    string(out, &session.name);
    out.push_str(",\"Node\":");
    string(out, node);
    let _ = write!(
        out,
        ",\"LockDelay\":{},\"Behavior\":\"{}\",\"TTL\":",
        session.lock_delay,
        session.behavior.as_str()
    );
    string(out, &session.ttl_text);
    out.push_str(",\"NodeChecks\":");
    list(out, session.node_checks.as_deref(), string);
    out.push_str(",\"ServiceChecks\":");
    list(out, session.service_checks.as_deref(), |out, check| {
        out.push_str("{\"ID\":");
        string(out, check);
        out.push_str(",\"Namespace\":\"\"}");
    });
    let index = session.create_index;
    let _ = write!(out, ",\"CreateIndex\":{index},\"ModifyIndex\":{index}}}");
}

fn list(out: &mut String, items: Option<&[String]>, item: impl Fn(&mut String, &str)) {
    match items {
        None => out.push_str("null"),
        Some(items) => array(out, items, |out, text| item(out, text)),
    }
}

/// Appends an array.
pub(super) fn array<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut item: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (place, one) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        item(out, one);
    }
    out.push(']');
}

/// A transaction's outcome; a read-only one (`read`) adds the index and freshness
/// fields.
pub(super) fn outcome(outcome: &Result<Vec<TxnRow>, Vec<OpFault>>, read: bool) -> String {
    let mut out = String::from("{\"Results\":");
    match outcome {
        Ok(rows) => {
            array(&mut out, rows, |out, row| {
                out.push_str("{\"KV\":");
                pair(out, &row.key, &row.pair);
                out.push('}');
            });
            out.push_str(",\"Errors\":null");
        }
        Err(faults) => {
            out.push_str("null,\"Errors\":");
            array(&mut out, faults, |out, fault| {
                let _ = write!(out, "{{\"OpIndex\":{},\"What\":", fault.op);
                string(out, &fault.what);
                out.push('}');
            });
        }
    }
    if read {
        out.push_str(
            ",\"Index\":0,\"LastContact\":0,\"KnownLeader\":true,\"ConsistencyLevel\":\"\"",
        );
    }
    out.push('}');
    out
}
