//! Lists and deletes fence entries of sessions that have ended.

use super::{Ask, Keyspace, escaped};
use crate::{
    consul::{
        answer::Answer,
        fact::{SessionId, StaleFences, Trouble},
        http::Purpose,
        row::Row,
        txn::{self, Op},
        wire::WireRequest,
    },
    key::RESERVED,
};

/// Lists the fence entries that no session locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListStaleFences;

impl Ask for ListStaleFences {
    type Fact = StaleFences;

    fn request(&self, keys: &Keyspace) -> WireRequest {
        WireRequest::get(format!("/v1/kv/{}?recurse&consistent", escaped(&folder(keys))))
    }

    /// Ignores records of periodic jobs and entries of other programs.
    fn read(&self, keys: &Keyspace, answer: Answer<'_>) -> StaleFences {
        let folder = folder(keys);
        if let Some(right) = answer.denied(&format!("key:list on \"{folder}\"")) {
            return StaleFences::Denied(right);
        }
        if answer.status() == 404 && answer.body().is_empty() {
            return StaleFences::Found(Vec::new());
        }
        let rows = (answer.status() == 200).then(|| answer.json::<Vec<Row<'_>>>()).flatten();
        let Some(rows) = rows else { return StaleFences::Unknown(answer.trouble()) };
        let stale = |row: Row<'_>| {
            let is_unlocked = row.session().is_none();
            let name = row.key.strip_prefix(&folder).filter(|id| is_unlocked && is_uuid(id))?;
            Some((SessionId::from(name), row.modify_index))
        };
        StaleFences::Found(rows.into_iter().filter_map(stale).collect())
    }

    fn unanswered(&self, trouble: Trouble) -> StaleFences {
        StaleFences::Unknown(trouble)
    }

    fn purpose(&self) -> Purpose {
        Purpose::List
    }
}

/// Deletes fence entries that are unchanged since they were listed. The next listing shows
/// the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeleteStaleFences {
    pub(crate) stale: Vec<(SessionId, u64)>,
}

impl Ask for DeleteStaleFences {
    type Fact = ();

    fn request(&self, keys: &Keyspace) -> WireRequest {
        let names: Vec<_> = self.stale.iter().map(|(id, index)| (keys.fence(id), *index)).collect();
        let ops: Vec<_> =
            names.iter().map(|(key, index)| Op::DeleteCas { key, index: *index }).collect();
        txn::request(keys.scope(), &ops)
    }

    fn read(&self, _: &Keyspace, _: Answer<'_>) {}

    fn unanswered(&self, _: Trouble) {}
}

/// The folder of the fence entries, which also holds other entries.
fn folder(keys: &Keyspace) -> String {
    format!("{}{RESERVED}/", keys.prefix)
}

fn is_uuid(name: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, u8)| {
        if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    name.len() == 36 && name.bytes().enumerate().all(fits)
}

#[cfg(test)]
mod tests;
