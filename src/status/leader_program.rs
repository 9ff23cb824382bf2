//! Compares a leader's program with this process's.

use serde_json::Value;

use crate::{escape::shortened, key::Key, logs, ownership::Holder, value::parsed};

/// The longest part of a field that is logged, in characters.
const LONGEST_FIELD: usize = 64;

/// How a leader's value differs from this process's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Difference {
    /// Another program, by the name of its binary or service: probably two unrelated
    /// programs share a key.
    Program { ours: String, theirs: String },
    /// Another build of the program, as during a rolling update.
    Build { ours: String, theirs: String },
}

/// The difference between this process's program and the leader's, according to their
/// values. Missing fields are no difference.
fn difference(ours: &[u8], theirs: &[u8]) -> Option<Difference> {
    let (ours, theirs): (Value, Value) = (parsed(ours)?, parsed(theirs)?);
    let differ = |field: &str| {
        let pair = [&ours, &theirs].map(|value| value.get(field).and_then(Value::as_str));
        let [Some(ours), Some(theirs)] = pair else { return None };
        let shown = |text| shortened(text, LONGEST_FIELD);
        (ours != theirs).then(|| (shown(ours), shown(theirs)))
    };
    if let Some((ours, theirs)) = differ("binary").or_else(|| differ("service")) {
        return Some(Difference::Program { ours, theirs });
    }
    differ("build").map(|(ours, theirs)| Difference::Build { ours, theirs })
}

/// Logs that a leader runs another program or build. `own` is the value of this process
/// while it leads; it is empty if the process does not campaign.
pub(crate) fn log_difference(key: &Key, own: &[u8], leader: &Holder) {
    let session = &leader.session;
    match difference(own, &leader.value) {
        Some(Difference::Program { ours, theirs }) => logs::warn!(
            %key, session, ?ours, ?theirs,
            "the leader is another program: if it is unrelated to this one, set a prefix of its \
             own for each"
        ),
        Some(Difference::Build { ours, theirs }) => {
            logs::info!(%key, session, ?ours, ?theirs, "the leader is another build");
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::LONGEST_PARSED;

    #[test]
    fn another_binary_service_or_build_is_a_difference_and_what_is_not_said_is_none() {
        let ours = br#"{"service":"api","binary":"api","build":"7"}"#;
        let differs = |theirs: &str| difference(ours, theirs.as_bytes());
        let program =
            |theirs: &str| Some(Difference::Program { ours: "api".into(), theirs: theirs.into() });
        assert_eq!(
            differs(r#"{"service":"api","binary":"billing","build":"7"}"#),
            program("billing")
        );
        assert_eq!(differs(r#"{"service":"other","binary":"api"}"#), program("other"));
        let build = Difference::Build { ours: "7".into(), theirs: "8".into() };
        assert_eq!(differs(r#"{"service":"api","binary":"api","build":"8"}"#), Some(build));
        for same in ["", "text", "[]", "{}", r#"{"binary":7}"#, r#"{"service":"api","build":"7"}"#]
        {
            assert_eq!(differs(same), None, "{same}");
        }
        let long = format!(r#"{{"binary":"{}"}}"#, "x".repeat(LONGEST_PARSED));
        assert_eq!(differs(&long), None, "not parsed");
        let cut = format!(r#"{{"binary":"{}"}}"#, "x".repeat(1_000));
        assert_eq!(differs(&cut), program(&format!("{}…", "x".repeat(LONGEST_FIELD - 1))));
    }
}
