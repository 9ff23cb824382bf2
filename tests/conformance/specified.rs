//! Which rules of Consul in `spec/lock.qnt` are compared with a real Consul, and by which cases.

use std::{collections::BTreeSet, path::Path};

use super::{timed, untimed};

/// The names that mark the rules, each with the cases that compare it.
const RULES: &[(&str, &[&str])] = &[
    ("create-ttl", &["a session ends at twice its TTL"]),
    ("end", &["session renew, info, destroy, list", "a session ends at twice its TTL"]),
    ("end-delay", &["expiry, then the lock-delay", "lock-delays after a destroy"]),
    ("end-fence", &["txn: raises of a fence"]),
    ("end-frees", &["end of a session: release"]),
    ("end-index", &["end of a session: release"]),
    ("lock-again", &["an identical lock keeps its index"]),
    (
        "lock-delay",
        &["a lock-delay below one second", "lock-delay is refused before anything else"],
    ),
    ("lock-fence", &["txn: fence-style transactions", "txn: raises of a fence"]),
    ("lock-held", &["txn: locks", "txn: all or nothing, and every fault is reported"]),
    ("lock-index", &["txn: fence-style transactions", "txn: checks"]),
    ("lock-same", &["an identical lock keeps its index"]),
    ("lock-session", &["txn: locks", "txn: raises of a fence"]),
    ("lock-ttl", &["using a session does not restart its timer"]),
    ("look", &["txn: raises of a fence", "reads of keys"]),
    ("raise", &["txn: raises of a fence"]),
    ("raise-index", &["txn: raises of a fence"]),
    ("raise-session", &["txn: raises of a fence"]),
    ("release-holder", &["txn: checks", "txn: fence-style transactions"]),
    ("release-index", &["txn: deletes", "txn: fence-style transactions"]),
    ("release-keeps", &["txn: fence-style transactions", "txn: deletes"]),
    ("renew", &["session renew, info, destroy, list"]),
    ("renew-ttl", &["a renewal restarts the timer, even late"]),
];

#[test]
fn every_rule_of_consul_in_the_specification_is_compared_by_a_case() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/lock.qnt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let marked: Vec<&str> =
        text.lines().filter_map(|line| line.rsplit_once("// [")?.1.strip_suffix(']')).collect();
    let named: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
    let sorted = |names: &[&str]| {
        let set: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(set.len(), names.len(), "a name stands for two rules: {names:?}");
        set
    };
    assert_eq!(sorted(&marked), sorted(&named));

    let cases = [untimed(), timed::CASES.to_vec()].concat();
    for (name, compared) in RULES {
        for case in *compared {
            assert!(cases.iter().any(|(it, _)| it == case), "{name}: there is no case {case:?}");
        }
        assert!(!compared.is_empty(), "{name}");
    }
}
