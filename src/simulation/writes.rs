//! Writes under locks, and their checks: no write takes effect after a later grant, and
//! none that was refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use super::{plan::Plan, question::Question, random::Random, world::World};
use crate::{
    consul::ask::{EntryOp, What},
    error::Error,
    holding::{
        callers::{Content, WriteAnswer},
        lease_state::LeaseState,
        slot_question::SlotQuestion,
    },
    key::Key,
    token::FencingToken,
};

/// A write that was requested.
#[derive(Debug)]
struct Requested {
    process: usize,
    life: u64,
    key: Key,
    token: FencingToken,
    /// `None` once it was answered.
    answer: Option<Receiver<WriteAnswer>>,
    applied: bool,
    refused: bool,
    /// A copy of its request was sent, so it may be refused although it took effect.
    repeated: bool,
}

/// The state of the checks of writes.
#[derive(Debug)]
pub(super) struct Writes {
    random: Random,
    /// How many of a thousand visits of an owner write.
    often: u64,
    /// The latest token that was granted of each key in the current store.
    granted: BTreeMap<Key, FencingToken>,
    requested: BTreeMap<u64, Requested>,
    open: BTreeSet<u64>,
}

impl Writes {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed ^ 0x7772_6974);
        let often = random.pick(&[0, 0, 0, 0, 0, 100, 400, 900]);
        let often = if plan.is_specified { 0 } else { often };
        let (granted, requested, open) = Default::default();
        Self { random, often, granted, requested, open }
    }

    /// The number of the write, if it is one that an owner requested.
    fn number(&self, question: &Question) -> Option<u64> {
        let Question::Slot(_, SlotQuestion::Write { ask, .. }) = question else { return None };
        let value = match &ask.what {
            What::Value { value, .. } => value.to_vec(),
            What::PassTo { .. } => return None,
            What::Entries(ops) => ops.iter().find_map(|op| match op {
                EntryOp::Put { value, .. } => Some(value.clone()),
                _ => None,
            })?,
        };
        let number = std::str::from_utf8(&value).ok()?.strip_prefix('w')?.parse().ok()?;
        self.requested.contains_key(&number).then_some(number)
    }

    /// Notes that a copy of the request was sent.
    pub(super) fn repeated(&mut self, question: &Question) {
        if let Some(write) = self.number(question).and_then(|n| self.requested.get_mut(&n)) {
            write.repeated = true;
        }
    }

    pub(super) fn granted(&mut self, key: &Key, token: FencingToken) {
        // A slow caller may look at its lease after a later one was granted.
        let last = self.granted.entry(key.clone()).or_insert(token);
        *last = token.max(*last);
    }

    pub(super) fn store_replaced(&mut self) {
        self.granted.clear();
    }
}

impl World {
    /// An owner of a key writes under it, or not.
    pub(super) fn maybe_write(&mut self, process: usize, lease: &Arc<LeaseState>) {
        let writes = &mut self.writes;
        if self.healed_at.is_some() || !writes.random.chance(writes.often) {
            return;
        }
        let updates = writes.random.chance(300);
        self.write(process, lease, updates);
    }

    /// An owner of a key writes under it: the key's own value, or another entry.
    pub(super) fn write(&mut self, process: usize, lease: &Arc<LeaseState>, updates: bool) {
        let (now, writes) = (self.now, &mut self.writes);
        let number = writes.requested.len() as u64;
        let value = format!("w{number}").into_bytes();
        let (key, token) = (lease.key().clone(), lease.token());
        let content = if updates {
            Content::Value(value.into())
        } else {
            let place = self.keys.iter().position(|known| *known == key);
            let data = Key::new(format!("written/{}", place.unwrap_or(0)));
            let Ok(data) = data else { return };
            let put = EntryOp::Put { key: data, value, flags: token.as_u64() };
            Content::Entries([put].into())
        };
        let host = &self.processes[process];
        let Ok(answer) = host.wards.slots().write(lease, &[], content) else { return };
        self.stats.fault("(write under a lock)");
        self.trace.note(now, number, || format!("p{process}      writes w{number} under {key}"));
        let (life, answer) = (host.life, Some(answer));
        let requested = Requested {
            process,
            life,
            key,
            token,
            answer,
            applied: false,
            refused: false,
            repeated: false,
        };
        writes.requested.insert(number, requested);
        writes.open.insert(number);
    }

    /// Checks a write that took effect in Consul.
    pub(super) fn check_applied(&mut self, question: &Question) {
        let Some(number) = self.writes.number(question) else { return };
        let Some(write) = self.writes.requested.get_mut(&number) else { return };
        write.applied = true;
        let (key, token, refused) = (write.key.clone(), write.token, write.refused);
        let granted = self.writes.granted.get(&key).copied();
        if granted.is_some_and(|granted| granted > token) {
            self.violate(|| {
                format!("w{number} under {key} {token:?} took effect after {granted:?} was granted")
            });
        } else if refused {
            self.violate(|| format!("w{number} under {key} took effect after it was refused"));
        }
    }

    /// Reads the answers to writes.
    pub(super) fn read_write_answers(&mut self) {
        for number in self.writes.open.clone() {
            let Some(write) = self.writes.requested.get_mut(&number) else { continue };
            let host = &self.processes[write.process];
            let answer = match write.answer.as_mut().map(Receiver::try_recv) {
                // Its process has crashed.
                _ if host.life != write.life => None,
                Some(Err(TryRecvError::Empty)) => continue,
                Some(Ok(answer)) => Some(answer),
                Some(Err(TryRecvError::Closed)) | None => {
                    return self.violate(|| format!("w{number} will never be answered"));
                }
            };
            write.answer = None;
            self.writes.open.remove(&number);
            let unclear = matches!(answer, None | Some(Err(Error::Unknown { .. })));
            let (applied, repeated) = (write.applied, write.repeated);
            write.refused = !unclear && answer != Some(Ok(()));
            if answer == Some(Ok(())) && !applied {
                self.violate(|| format!("w{number} was confirmed, and never took effect"));
            } else if write.refused && applied && !repeated {
                self.violate(|| format!("w{number} took effect, and was refused: {answer:?}"));
            }
            let now = self.now;
            self.trace.note(now, number, || format!("w{number}: {answer:?}"));
        }
    }

    /// A write that is not answered at the end.
    pub(super) fn never_answered(&self) -> Option<String> {
        let number = self.writes.open.first()?;
        Some(format!("w{number} was never answered"))
    }
}
