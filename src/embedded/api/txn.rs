//! The endpoint `/v1/txn`.

use base64::{DecodeError, Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    super::{
        engine::{Engine, TxnOp, Verb},
        golang,
    },
    json,
    limits::{Limit, check_length},
    reply::Reply,
    target::Query,
};
use crate::clock::Moment;

/// The largest number of operations in a transaction.
const MAX_OPS: usize = 64;
/// The same since Consul 1.14.
const MAX_OPS_NEWER: usize = 128;

pub(super) fn put(
    engine: &mut Engine,
    now: Moment,
    query: &Query,
    body: &[u8],
) -> Result<Reply, Reply> {
    query.check_consistency()?;
    query.blocking()?;
    check_length(Limit::Transaction, body.len())?;
    let ops = decode(body, if engine.is_newer() { MAX_OPS_NEWER } else { MAX_OPS })?;
    query.check_datacenter()?;
    Reply::check_token(engine)?;
    let read = Engine::only_reads(&ops);
    let outcome = engine.transact(now, ops);
    let reply = Reply::json(if outcome.is_ok() { 200 } else { 409 }, json::outcome(&outcome, read));
    Ok(if read { reply.with_meta(None, true) } else { reply })
}

/// Decodes a transaction's body like Go's decoder.
fn decode(body: &[u8], most: usize) -> Result<Vec<TxnOp>, Reply> {
    let unreadable = |why: String| Reply::text(400, &format!("Failed to parse body: {why}"));
    let items = match golang::decode_json(body).map_err(unreadable)? {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => return Err(unreadable(into_value(&other, "TxnOps"))),
    };
    let count = items.len();
    let mut ops = Vec::with_capacity(count);
    for item in items {
        if let Some(op) = decode_item(item).map_err(unreadable)? {
            ops.push(op);
        }
    }
    if count > most {
        let text = format!("Transaction contains too many operations ({count} > {most})");
        return Err(Reply::text(413, &text));
    }
    Ok(ops)
}

fn into_value(value: &Value, kind: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type api.{kind}", golang::kind_of(value))
}

fn decode_item(item: Value) -> Result<Option<TxnOp>, String> {
    let fields = match item {
        Value::Null => return Ok(None),
        Value::Object(fields) => fields,
        other => return Err(into_value(&other, "TxnOp")),
    };
    let mut op = None;
    for (name, value) in fields {
        match &*name.to_ascii_lowercase() {
            "kv" => op = decode_kv(value)?,
            "node" | "service" | "check" | "session" if value.is_null() => {}
            "node" | "service" | "check" | "session" => {
                return Err(format!("the embedded Consul does not support transactions on {name}"));
            }
            _ => return Err(unknown_field(&name)),
        }
    }
    Ok(op)
}

fn unknown_field(name: &str) -> String {
    format!("json: unknown field {}", golang::quote(name.as_bytes()))
}

fn decode_kv(value: Value) -> Result<Option<TxnOp>, String> {
    let fields = match value {
        Value::Null => return Ok(None),
        Value::Object(fields) => fields,
        other => return Err(mismatch(&other, "TxnOp.KV", "api.KVTxnOp")),
    };
    let mut op = TxnOp {
        verb: Verb::Unknown(String::new()),
        key: Vec::new(),
        value: Vec::new(),
        flags: 0,
        index: 0,
        session: String::new(),
    };
    for (name, value) in fields {
        if value.is_null() {
            continue;
        }
        match &*name.to_ascii_lowercase() {
            "verb" => op.verb = Verb::from(&*text("KVTxnOp.KV.Verb", "api.KVOp", value)?),
            "key" => op.key = text("KVTxnOp.KV.Key", "string", value)?.into_bytes(),
            "session" => op.session = text("KVTxnOp.KV.Session", "string", value)?,
            "namespace" => drop(text("KVTxnOp.KV.Namespace", "string", value)?),
            "flags" => op.flags = number("KVTxnOp.KV.Flags", &value)?,
            "index" => op.index = number("KVTxnOp.KV.Index", &value)?,
            "value" => op.value = bytes(value)?,
            _ => return Err(unknown_field(&name)),
        }
    }
    Ok(Some(op))
}

fn mismatch(value: &Value, field: &str, kind: &str) -> String {
    let found = match value {
        Value::Number(number) if kind == "uint64" => match number.as_f64() {
            // Beyond 64 bits, Go repeats the digits.
            Some(float) if float.fract() == 0.0 => format!("number {float:.0}"),
            _ => format!("number {number}"),
        },
        other => golang::kind_of(other),
    };
    format!("json: cannot unmarshal {found} into Go struct field {field} of type {kind}")
}

fn text(field: &str, kind: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(mismatch(&other, field, kind)),
    }
}

fn number(field: &str, value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| mismatch(value, field, "uint64"))
}

fn bytes(value: Value) -> Result<Vec<u8>, String> {
    let mut text = text("KVTxnOp.KV.Value", "[]uint8", value)?;
    // Go's decoder ignores line breaks.
    text.retain(|c| c != '\r' && c != '\n');
    STANDARD.decode(&text).map_err(|error| {
        let place = match error {
            DecodeError::InvalidByte(place, _) | DecodeError::InvalidLastSymbol(place, _) => place,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
                text.len().saturating_sub(1) / 4 * 4
            }
        };
        format!("illegal base64 data at input byte {place}")
    })
}
