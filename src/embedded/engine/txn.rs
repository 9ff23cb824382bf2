//! Transactions: either all operations take effect or none.

use super::{super::golang::quote, EmbeddedRight, Engine, Pair, kv::Undo};
use crate::clock::Moment;

/// The verb of a transaction's operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Set,
    Cas,
    Lock,
    Unlock,
    Get,
    GetTree,
    CheckIndex,
    CheckSession,
    CheckNotExists,
    Delete,
    DeleteCas,
    DeleteTree,
    /// Unknown to Consul; the operation fails.
    Unknown(String),
}

impl Verb {
    /// Whether a transaction with this verb goes through raft.
    fn writes(&self) -> bool {
        use Verb::{Cas, Delete, DeleteCas, DeleteTree, Lock, Set, Unlock};
        matches!(self, Set | Cas | Lock | Unlock | Delete | DeleteCas | DeleteTree)
    }

    /// The right that Consul checks before the transaction. It filters what `get` and
    /// `get-tree` return instead.
    fn right(&self) -> Option<EmbeddedRight> {
        match self {
            Self::Get | Self::GetTree => None,
            Self::CheckIndex | Self::CheckSession => Some(EmbeddedRight::KeyRead),
            _ => Some(EmbeddedRight::KeyWrite),
        }
    }
}

impl From<&str> for Verb {
    fn from(verb: &str) -> Self {
        match verb {
            "set" => Self::Set,
            "cas" => Self::Cas,
            "lock" => Self::Lock,
            "unlock" => Self::Unlock,
            "get" => Self::Get,
            "get-tree" => Self::GetTree,
            "check-index" => Self::CheckIndex,
            "check-session" => Self::CheckSession,
            "check-not-exists" => Self::CheckNotExists,
            "delete" => Self::Delete,
            "delete-cas" => Self::DeleteCas,
            "delete-tree" => Self::DeleteTree,
            other => Self::Unknown(other.into()),
        }
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub(crate) struct TxnOp {
    pub(crate) verb: Verb,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u64,
    pub(crate) index: u64,
    pub(crate) session: String,
}

/// A result of a successful transaction.
#[derive(Clone, Debug)]
pub(crate) struct TxnRow {
    pub(crate) key: Vec<u8>,
    /// The entry; its value is empty unless the operation reads it.
    pub(crate) pair: Pair,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpFault {
    /// The operation's index in the transaction, from 0.
    pub(crate) op: usize,
    pub(crate) what: String,
}

impl Engine {
    /// Whether a transaction of these operations only reads.
    pub(crate) fn only_reads(ops: &[TxnOp]) -> bool {
        !ops.iter().any(|op| op.verb.writes())
    }

    /// Runs a transaction. On failure nothing changes, and every failing operation
    /// is reported.
    pub(crate) fn transact(
        &mut self,
        now: Moment,
        ops: Vec<TxnOp>,
    ) -> Result<Vec<TxnRow>, Vec<OpFault>> {
        self.advance(now);
        let refused = self.refusals(&ops);
        if !refused.is_empty() {
            return Err(refused);
        }
        let index = if Self::only_reads(&ops) { 0 } else { self.next_index() };
        let tables = (self.store.kv_index, self.store.tombstone_index, self.version);
        let reaps = self.reaps.back().copied();
        let mut rows = Vec::new();
        let mut faults = Vec::new();
        let mut undo = Vec::new();
        for (place, op) in ops.into_iter().enumerate() {
            if let Err(what) = self.apply(op, index, &mut rows, &mut undo) {
                faults.push(OpFault { op: place, what });
            }
        }
        if faults.is_empty() {
            return Ok(rows);
        }
        self.undo(undo);
        (self.store.kv_index, self.store.tombstone_index, self.version) = tables;
        self.reaps.retain(|(_, reaped)| *reaped != index);
        if let Some(last) = reaps
            && self.reaps.back() != Some(&last)
        {
            self.reaps.push_back(last);
        }
        Err(faults)
    }

    /// The operations that Consul refuses before raft. If there are any, it does not
    /// try the others.
    fn refusals(&self, ops: &[TxnOp]) -> Vec<OpFault> {
        let refusal = |(op, request): (usize, &TxnOp)| {
            let what = if request.key.is_empty() && request.verb != Verb::DeleteTree {
                "Must provide key".into()
            } else if let Some(denial) =
                request.verb.right().and_then(|right| self.denial(right, &request.key))
            {
                denial
            } else if request.verb == Verb::Lock && self.is_delayed(&request.key) {
                format!("failed to lock key {} due to lock delay", quote(&request.key))
            } else {
                return None;
            };
            Some(OpFault { op, what })
        };
        ops.iter().enumerate().filter_map(refusal).collect()
    }

    fn apply(
        &mut self,
        op: TxnOp,
        index: u64,
        rows: &mut Vec<TxnRow>,
        undo: &mut Vec<Undo>,
    ) -> Result<(), String> {
        let TxnOp { verb, key, value, flags, index: expected, session } = op;
        let undo = Some(undo);
        match verb {
            Verb::Set => self.set_pair(&key, value, flags, index, undo),
            Verb::Cas => {
                if !self.cas_pair(&key, value, flags, expected, index, undo) {
                    return Err(format!("failed to set key {}, index is stale", quote(&key)));
                }
            }
            Verb::Lock => match self.lock_pair(&key, value, flags, &session, index, undo) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(format!(
                        "failed to lock key {}, lock is already held",
                        quote(&key)
                    ));
                }
                Err(fault) => return Err(fault.to_string()),
            },
            Verb::Unlock => match self.unlock_pair(&key, value, flags, &session, index, undo) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(format!(
                        "failed to unlock key {}, lock isn't held, or is held by another session",
                        quote(&key)
                    ));
                }
                Err(fault) => return Err(fault.to_string()),
            },
            Verb::Get => {
                let Some(pair) = self.pair(&key) else {
                    return Err(format!("key {} doesn't exist", quote(&key)));
                };
                if !self.lacks(EmbeddedRight::KeyRead) {
                    rows.push(TxnRow { pair: pair.clone(), key });
                }
                return Ok(());
            }
            Verb::GetTree => {
                let found = self.shown_pairs(&key);
                rows.extend(
                    found.map(|(key, pair)| TxnRow { key: key.clone(), pair: pair.clone() }),
                );
                return Ok(());
            }
            Verb::CheckIndex => match self.pair(&key) {
                None => {
                    return Err(format!(
                        "failed to check index, key {} doesn't exist",
                        quote(&key)
                    ));
                }
                Some(pair) if pair.modify_index != expected => {
                    return Err(format!(
                        "failed index check for key {}, current modify index {} != {expected}",
                        quote(&key),
                        pair.modify_index
                    ));
                }
                Some(_) => {}
            },
            Verb::CheckSession => {
                let Some(pair) = self.pair(&key) else {
                    return Err(format!(
                        "failed to check session, key {} doesn't exist",
                        quote(&key)
                    ));
                };
                let holder = pair.session.as_ref().map_or("", |id| id.as_str());
                if holder != session {
                    return Err(format!(
                        "failed session check for key {}, current session {} != {}",
                        quote(&key),
                        quote(holder.as_bytes()),
                        quote(session.as_bytes())
                    ));
                }
            }
            Verb::CheckNotExists => {
                return match self.pair(&key) {
                    Some(_) => Err(format!("key {} exists", quote(&key))),
                    None => Ok(()),
                };
            }
            Verb::Delete => {
                self.remove_pair(&key, index, undo);
                return Ok(());
            }
            Verb::DeleteCas => {
                if self.pair(&key).is_some_and(|pair| pair.modify_index != expected) {
                    return Err(format!("failed to delete key {}, index is stale", quote(&key)));
                }
                self.remove_pair(&key, index, undo);
                return Ok(());
            }
            Verb::DeleteTree => {
                self.remove_tree(&key, index, undo);
                return Ok(());
            }
            Verb::Unknown(verb) => {
                return Err(format!("unknown KV verb {}", quote(verb.as_bytes())));
            }
        }
        // Every verb that reaches this line leaves or finds an entry.
        if let Some(pair) = self.pair(&key) {
            let shown = Pair {
                value: Vec::new(),
                session: pair.session.clone(),
                create_index: pair.create_index,
                modify_index: pair.modify_index,
                lock_index: pair.lock_index,
                flags: pair.flags,
            };
            rows.push(TxnRow { key, pair: shown });
        }
        Ok(())
    }
}
