//! The key-value store: how a write changes an entry and the indexes.

use super::{EmbeddedRight, Engine, Fault};
use crate::{clock::Moment, consul::fact::SessionId};

/// An entry of the key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    /// The number of times the entry was locked; a plain write resets it to 0.
    pub(crate) lock_index: u64,
    pub(crate) flags: u64,
    pub(crate) value: Vec<u8>,
    /// The session that holds the key, spelt as in the lock request.
    pub(crate) session: Option<SessionId>,
}

/// The mode and condition of `PUT /v1/kv/`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PutMode<'a> {
    Plain,
    /// Only if the entry was last modified at this index; 0 means that it must not
    /// exist.
    Cas(u64),
    /// Only if no other session holds the key.
    Acquire(&'a str),
    /// Only if this session holds the key.
    Release(&'a str),
}

/// How to undo one step of a failed transaction: a key and its former state.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Pair(Vec<u8>, Option<Pair>),
    Tombstone(Vec<u8>, Option<u64>),
}

/// How a write changes the entry's session.
enum Hold {
    Keep,
    Set(Option<SessionId>),
}

/// Where a transaction collects its undo steps; `None` outside transactions.
pub(super) type UndoLog<'a> = Option<&'a mut Vec<Undo>>;

impl Engine {
    /// Writes a key; returns `false` if the condition fails.
    pub(crate) fn put(
        &mut self,
        now: Moment,
        key: &[u8],
        value: Vec<u8>,
        flags: u64,
        mode: PutMode<'_>,
    ) -> Result<bool, Fault> {
        self.advance(now);
        if matches!(mode, PutMode::Acquire(_)) && self.is_delayed(key) {
            return Ok(false);
        }
        let index = self.next_index();
        match mode {
            PutMode::Plain => {
                self.set_pair(key, value, flags, index, None);
                Ok(true)
            }
            PutMode::Cas(expected) => Ok(self.cas_pair(key, value, flags, expected, index, None)),
            PutMode::Acquire(session) => self.lock_pair(key, value, flags, session, index, None),
            PutMode::Release(session) => self.unlock_pair(key, value, flags, session, index, None),
        }
    }

    /// Deletes a key; returns `false` if the condition fails. Deleting a missing
    /// key succeeds.
    pub(crate) fn delete(&mut self, now: Moment, key: &[u8], cas: Option<u64>) -> bool {
        self.advance(now);
        let index = self.next_index();
        if let (Some(expected), Some(pair)) = (cas, self.pair(key))
            && pair.modify_index != expected
        {
            return false;
        }
        self.remove_pair(key, index, None);
        true
    }

    /// Deletes all keys with `prefix`.
    pub(crate) fn delete_tree(&mut self, now: Moment, prefix: &[u8]) {
        self.advance(now);
        let index = self.next_index();
        self.remove_tree(prefix, index, None);
    }

    /// The entry of a key.
    pub(crate) fn pair(&self, key: &[u8]) -> Option<&Pair> {
        self.store.pairs.get(key)
    }

    /// The entries with `prefix`, sorted by key.
    pub(crate) fn pairs<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a Pair)> {
        self.store
            .pairs
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The entries with `prefix` that clients may read, sorted by key.
    pub(crate) fn shown_pairs<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a Pair)> {
        let is_shown = !self.lacks(EmbeddedRight::KeyRead);
        self.pairs(prefix).take_while(move |_| is_shown)
    }

    /// The index that a read of a missing key reports: the index of the last write,
    /// deletion or tombstone reaping of any key.
    pub(crate) fn kv_index(&self) -> u64 {
        self.store.kv_index.max(self.store.tombstone_index)
    }

    /// The index that a listing reports: the index of the last write or deletion
    /// under `prefix`.
    pub(crate) fn prefix_index(&self, prefix: &[u8]) -> u64 {
        if prefix.is_empty() {
            return self.kv_index();
        }
        let written = self.pairs(prefix).map(|(_, pair)| pair.modify_index).max();
        let deleted = self
            .store
            .tombstones
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, index)| *index)
            .max();
        written.max(deleted).unwrap_or_else(|| self.kv_index())
    }

    /// Whether a lock-delay of the key is running.
    pub(super) fn is_delayed(&self, key: &[u8]) -> bool {
        self.delays.get(key).is_some_and(|delay| delay.until > self.now)
    }

    pub(super) fn set_pair(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        flags: u64,
        index: u64,
        undo: UndoLog<'_>,
    ) {
        self.write_pair(key, value, flags, 0, Hold::Keep, index, undo);
    }

    pub(super) fn cas_pair(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        flags: u64,
        expected: u64,
        index: u64,
        undo: UndoLog<'_>,
    ) -> bool {
        if self.pair(key).map_or(0, |pair| pair.modify_index) != expected {
            return false;
        }
        self.set_pair(key, value, flags, index, undo);
        true
    }

    pub(super) fn lock_pair(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        flags: u64,
        session: &str,
        index: u64,
        undo: UndoLog<'_>,
    ) -> Result<bool, Fault> {
        if session.is_empty() {
            return Err(Fault::MissingSession);
        }
        let Some(found) = self.find_session(session)? else {
            return Err(Fault::InvalidSession(session.into()));
        };
        // The entry keeps the request's spelling of the id.
        let id = if found.as_str() == session { found } else { SessionId::from(session) };
        let lock_index = match self.pair(key) {
            None => 1,
            Some(Pair { session: None, lock_index, .. }) => lock_index + 1,
            Some(Pair { session: Some(holder), lock_index, .. }) if *holder == id => *lock_index,
            Some(_) => return Ok(false),
        };
        self.write_pair(key, value, flags, lock_index, Hold::Set(Some(id)), index, undo);
        Ok(true)
    }

    pub(super) fn unlock_pair(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        flags: u64,
        session: &str,
        index: u64,
        undo: UndoLog<'_>,
    ) -> Result<bool, Fault> {
        if session.is_empty() {
            return Err(Fault::MissingSession);
        }
        match self.pair(key) {
            Some(Pair { session: Some(holder), lock_index, .. }) if holder.as_str() == session => {
                let lock_index = *lock_index;
                self.write_pair(key, value, flags, lock_index, Hold::Set(None), index, undo);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn remove_pair(&mut self, key: &[u8], index: u64, mut undo: UndoLog<'_>) {
        let Some(old) = self.store.pairs.remove(key) else { return };
        self.touch(key);
        if let Some(log) = undo.as_deref_mut() {
            log.push(Undo::Pair(key.to_vec(), Some(old)));
        }
        self.bury(key, index, undo);
    }

    pub(super) fn remove_tree(&mut self, prefix: &[u8], index: u64, mut undo: UndoLog<'_>) {
        let doomed: Vec<Vec<u8>> = self.pairs(prefix).map(|(key, _)| key.clone()).collect();
        if doomed.is_empty() {
            return;
        }
        for key in doomed {
            let old = self.store.pairs.remove(&key);
            self.touch(&key);
            if let Some(log) = undo.as_deref_mut() {
                log.push(Undo::Pair(key, old));
            }
        }
        self.bury(prefix, index, undo);
    }

    /// Undoes the steps of a failed transaction, last step first.
    pub(super) fn undo(&mut self, steps: Vec<Undo>) {
        for step in steps.into_iter().rev() {
            match step {
                Undo::Pair(key, Some(pair)) => drop(self.store.pairs.insert(key, pair)),
                Undo::Pair(key, None) => drop(self.store.pairs.remove(&key)),
                Undo::Tombstone(key, Some(index)) => {
                    self.store.tombstones.insert(key, index);
                }
                Undo::Tombstone(key, None) => {
                    self.store.tombstones.remove(&key);
                }
            }
        }
    }

    /// Writes an entry. If that changes nothing, no index moves.
    #[allow(clippy::too_many_arguments)]
    fn write_pair(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        flags: u64,
        lock_index: u64,
        hold: Hold,
        index: u64,
        undo: UndoLog<'_>,
    ) {
        let old = self.store.pairs.get_mut(key);
        let session = match hold {
            Hold::Keep => old.as_ref().and_then(|pair| pair.session.clone()),
            Hold::Set(session) => session,
        };
        let mut new =
            Pair { create_index: index, modify_index: index, lock_index, flags, value, session };
        let replaced = match old {
            None => {
                self.store.pairs.insert(key.to_vec(), new);
                None
            }
            Some(old) => {
                new.create_index = old.create_index;
                new.modify_index = old.modify_index;
                if *old == new {
                    return;
                }
                new.modify_index = index;
                Some(std::mem::replace(old, new))
            }
        };
        if let Some(log) = undo {
            log.push(Undo::Pair(key.to_vec(), replaced));
        }
        self.store.kv_index = index;
        self.touch(key);
    }

    /// Sets a tombstone for a deleted key or prefix, so that the indexes of its
    /// prefixes do not go backwards.
    fn bury(&mut self, key: &[u8], index: u64, undo: UndoLog<'_>) {
        self.store.kv_index = index;
        self.version += 1;
        if key.is_empty() {
            return;
        }
        let old = self.store.tombstones.insert(key.to_vec(), index);
        if let Some(log) = undo {
            log.push(Undo::Tombstone(key.to_vec(), old));
        }
        self.store.tombstone_index = index;
        self.schedule_reap(index);
    }
}
