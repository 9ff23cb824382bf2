//! Releases a key, if our session holds it at the expected index.

use super::{Ask, Keyspace, entry::entry_of, write_right};
#[cfg(test)]
use crate::mutation::Mutation;
use crate::{
    consul::{
        answer::Answer,
        fact::{Released, SessionId, Trouble},
        txn::{self, Failure, Op, Outcome},
        wire::WireRequest,
    },
    key::Key,
};

/// Releases a key, if our session holds it at this index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) key: Key,
    pub(crate) session: SessionId,
    pub(crate) index: u64,
    pub(crate) how: ReleaseHow,
}

/// What a release leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseHow {
    Delete,
    Keep { value: Vec<u8>, flags: u64 },
}

impl Release {
    fn ops<'a>(&'a self, key: &'a str) -> Vec<Op<'a>> {
        let session = self.session.as_str();
        let ours = Op::CheckSession { key, session };
        #[cfg(test)]
        if Mutation::ReleaseUnfenced.is_chosen() {
            return match self.how {
                ReleaseHow::Delete => vec![ours, Op::Delete { key }],
                ReleaseHow::Keep { .. } => {
                    vec![ours, Op::Unlock { key, session, flags: 0, value: &[] }]
                }
            };
        }
        let index = self.index;
        match &self.how {
            ReleaseHow::Delete => vec![ours, Op::DeleteCas { key, index }],
            ReleaseHow::Keep { value, flags } => vec![
                ours,
                Op::CheckIndex { key, index },
                Op::Unlock { key, session, flags: *flags, value },
            ],
        }
    }
}

impl Ask for Release {
    type Fact = Released;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        txn::request(&self.ops(&keys.key(&self.key)))
    }

    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> Released {
        let key = keys.key(&self.key);
        if let Some(right) = answer.denied(&write_right(&key)) {
            return Released::Denied(right);
        }
        match txn::outcome(&self.ops(&key), answer) {
            Outcome::Done(rows) => {
                // The first operation shows the entry as it was: held by our session.
                let was = entry_of(rows.first(), &key);
                let was_ours =
                    was.is_some_and(|entry| entry.session.as_ref() == Some(&self.session));
                let is_free =
                    || entry_of(rows.last(), &key).is_some_and(|entry| entry.session.is_none());
                if was_ours && (self.how == ReleaseHow::Delete || is_free()) {
                    return Released::Done;
                }
                Released::Unknown(answer.trouble())
            }
            Outcome::Failed(failures) => match failures.denial() {
                Some(denial) => Released::Denied(denial.right(&write_right(&key))),
                None if failures.any(&Failure::Unmet) => Released::FenceFailed,
                None => Released::Unknown(answer.server(failures.first())),
            },
            Outcome::Other => Released::Unknown(answer.trouble()),
        }
    }

    fn unanswered(&self, trouble: Trouble) -> Released {
        Released::Unknown(trouble)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::fixtures::*, *};

    fn keep() -> ReleaseHow {
        ReleaseHow::Keep { value: b"b".to_vec(), flags: 7 }
    }

    fn release(how: ReleaseHow) -> Release {
        Release { key: Key::new("k").unwrap(), session: id(), index: 8, how }
    }

    #[test]
    fn a_release_is_fenced_by_session_and_index() {
        let request = |how| body(&release(how).request(&Keyspace::default()));
        let ours = json!({"KV": {"Verb": "check-session", "Key": "k", "Session": ID}});
        assert_eq!(
            request(ReleaseHow::Delete),
            json!([ours, {"KV": {"Verb": "delete-cas", "Key": "k", "Index": 8}}])
        );
        assert_eq!(
            request(keep()),
            json!([ours, {"KV": {"Verb": "check-index", "Key": "k", "Index": 8}},
                   {"KV": {"Verb": "unlock", "Key": "k", "Session": ID, "Flags": 7,
                           "Value": "Yg=="}}])
        );
    }

    #[test]
    fn released_needs_the_entry_as_ours_and_if_kept_as_free() {
        let (delete, keep) = (release(ReleaseHow::Delete), release(keep()));
        let deleted = done(&[kv("k", Some(ID), 27)]);
        assert_eq!(read(&delete, 200, &deleted), Released::Done);
        let kept = done(&[kv("k", Some(ID), 15), kv("k", Some(ID), 15), kv("k", None, 26)]);
        assert_eq!(read(&keep, 200, &kept), Released::Done);
        assert_eq!(read(&keep, 200, &compact(&kept)), Released::Done);
        for body in [
            deleted.as_str(),
            &done(&[]),
            &done(&[kv("k", Some("other"), 15), kv("k", None, 26)]),
            &done(&[kv("other", Some(ID), 15), kv("other", None, 26)]),
            "true",
        ] {
            assert!(matches!(read(&keep, 200, body), Released::Unknown(_)), "{body}");
        }
        assert!(matches!(read(&delete, 200, &done(&[])), Released::Unknown(_)));
    }

    #[test]
    fn a_release_that_consul_did_not_do_says_so() {
        let (delete, keep) = (release(ReleaseHow::Delete), release(keep()));
        for (ask, op, what) in [
            (
                &delete,
                0,
                format!("failed session check for key \"k\", current session \"a\" != \"{ID}\""),
            ),
            (&delete, 0, "failed to check session, key \"k\" doesn't exist".into()),
            (&delete, 1, "failed to delete key \"k\", index is stale".into()),
            (&keep, 1, "failed index check for key \"k\", current modify index 156 != 8".into()),
            (
                &keep,
                2,
                "failed to unlock key \"k\", lock isn't held, or is held by another session".into(),
            ),
        ] {
            assert_eq!(read(ask, 409, &failed(&[(op, &what)])), Released::FenceFailed, "{what}");
            // The text of another operation, and of another key.
            for (op, what) in [(op + 1, what.clone()), (op, what.replace("\"k\"", "\"l\""))] {
                let told = read(ask, 409, &failed(&[(op, &what)]));
                assert!(matches!(told, Released::Unknown(_)), "{what}: {told:?}");
            }
        }
        let denied = Released::Denied("key:write on \"k\"".into());
        assert_eq!(read(&delete, 409, &failed(&[(1, "Permission denied")])), denied);
        assert!(matches!(read(&delete, 409, &failed(&[(1, "new")])), Released::Unknown(_)));
        assert!(matches!(read(&delete, 500, "rpc error making call: EOF"), Released::Unknown(_)));
    }
}
