//! Raises the fence entry of a session.

use super::{Ask, Keyspace, entry::entry_of, write_right};
use crate::consul::{
    answer::Answer,
    fact::{Fence, Raised, SessionId, Trouble},
    txn::{self, Failure, Op, Outcome},
    wire::WireRequest,
};

/// Makes every lock of the session that was sent with the fence `from` fail,
/// whenever it arrives. A fence of unknown use is raised as a new one.
///
/// The session locks its fence entry, so a late raise fails once the session has
/// ended, and an entry without a session is not needed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaiseFence {
    pub(crate) session: SessionId,
    pub(crate) from: Fence,
}

impl RaiseFence {
    /// The index that the raise replaces.
    fn replaces(&self) -> u64 {
        match self.from {
            Fence::At(index) => index,
            Fence::Unraised | Fence::Unusable => 0,
        }
    }

    fn ops<'a>(&'a self, key: &'a str, value: &'a str) -> [Op<'a>; 2] {
        let check = match self.from {
            Fence::At(index) => Op::CheckIndex { key, index },
            Fence::Unraised | Fence::Unusable => Op::CheckNotExists { key },
        };
        let (session, value) = (self.session.as_str(), value.as_bytes());
        [check, Op::Lock { key, session, flags: 0, value }]
    }

    /// Each raise writes another value: Consul leaves an entry's index as it is when
    /// nothing in the entry changes, and the fence would not be raised.
    fn value(&self) -> String {
        self.replaces().to_string()
    }
}

impl Ask for RaiseFence {
    type Fact = Raised;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(&self.ops(&keys.fence(&self.session), &self.value()))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Raised {
        let (key, value) = (keys.fence(&self.session), self.value());
        if let Some(right) = answer.denied(&write_right(&key)) {
            return Raised::Denied(right);
        }
        match txn::outcome(&self.ops(&key, &value), answer) {
            Outcome::Done(rows) => match entry_of(rows.last(), &key) {
                // An index that did not grow kills no earlier attempt.
                Some(entry)
                    if entry.session.as_ref() == Some(&self.session)
                        && entry.modify_index > self.replaces() =>
                {
                    Raised::At(entry.modify_index)
                }
                _ => Raised::Unknown(answer.trouble()),
            },
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Raised::Denied(denial.right(&write_right(&key))),
                None if failures.any(&Failure::Unmet) => Raised::Stale,
                None => Raised::Unknown(answer.server(failures.first())),
            },
            Outcome::Other => Raised::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Raised {
        Raised::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::fixtures::*, *};

    fn raise(from: Fence, status: u16, body: &str) -> Raised {
        read(&RaiseFence { session: id(), from }, status, body)
    }

    #[test]
    fn each_raise_of_a_fence_writes_another_value() {
        let raise = |from| body(&RaiseFence { session: id(), from }.request(&Keyspace::default()));
        let lock = |value| json!({"Verb": "lock", "Key": FENCE, "Session": ID, "Flags": 0, "Value": value});
        assert_eq!(
            raise(Fence::Unraised),
            json!([{"KV": {"Verb": "check-not-exists", "Key": FENCE}}, {"KV": lock("MA==")}])
        );
        assert_eq!(
            raise(Fence::At(16)),
            json!([{"KV": {"Verb": "check-index", "Key": FENCE, "Index": 16}},
                   {"KV": lock("MTY=")}])
        );
    }

    #[test]
    fn a_fence_is_raised_only_to_a_higher_index() {
        let at_16 = done(&[kv(FENCE, Some(ID), 16)]);
        assert_eq!(raise(Fence::Unraised, 200, &at_16), Raised::At(16));
        assert_eq!(raise(Fence::At(15), 200, &at_16), Raised::At(16));
        assert!(matches!(raise(Fence::At(16), 200, &at_16), Raised::Unknown(_)));
        for other in [kv("k", Some(ID), 16), kv(FENCE, None, 16)] {
            assert!(matches!(raise(Fence::Unraised, 200, &done(&[other])), Raised::Unknown(_)));
        }
    }

    #[test]
    fn a_raise_that_comes_too_late_says_so() {
        let exists = format!("key \"{FENCE}\" exists");
        let moved = format!("failed index check for key \"{FENCE}\", current modify index 9 != 3");
        let missing = format!("failed to check index, key \"{FENCE}\" doesn't exist");
        for (from, what) in
            [(Fence::Unraised, &exists), (Fence::At(3), &moved), (Fence::At(3), &missing)]
        {
            assert_eq!(raise(from, 409, &failed(&[(0, what)])), Raised::Stale, "{what}");
            let other = what.replace(FENCE, ".dsync/x");
            assert!(matches!(raise(from, 409, &failed(&[(0, &other)])), Raised::Unknown(_)));
        }
        let gone = failed(&[(1, &format!("invalid session \"{ID}\""))]);
        assert!(matches!(raise(Fence::Unraised, 409, &gone), Raised::Unknown(_)));
        let denied = Raised::Denied(format!("key:write on \"{FENCE}\""));
        assert_eq!(raise(Fence::Unraised, 409, &failed(&[(0, "Permission denied")])), denied);
        assert!(matches!(raise(Fence::Unraised, 500, "No cluster leader"), Raised::Unknown(_)));
    }
}
