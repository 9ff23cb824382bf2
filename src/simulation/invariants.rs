//! The guarantees, checked after every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    caller::Caller,
    permits::Permits,
    plan::Class,
    question::{Question, short},
    world::World,
};
use crate::{
    clock::Moment,
    consul::fact::SessionId,
    holding::{keeping::SessionQuestion, lease_state::LeaseState, slot_question::SlotQuestion},
    key::Key,
    ownership::LossReason,
    protocol::cell::DeadlineCell,
    token::FencingToken,
};

/// Identifies a lease: the number of its ownership, and its token.
type LeaseName = (u64, FencingToken);

/// Process, life, key and index. Another store may repeat an index.
type OwnershipName = (usize, u64, Key, u64);

/// An ownership granted to a process.
#[derive(Clone, Debug)]
struct Ownership {
    session: SessionId,
    /// When its lock took effect in Consul.
    applied_at: Moment,
    /// Its deadline.
    cell: Arc<DeadlineCell>,
}

/// The state of one key's checks.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The last holding session, and the index at which it locked the key.
    owner: Option<(SessionId, u64)>,
    held: bool,
    /// When the clocks were last bypassed: somebody deleted the key, released it in our
    /// name, or replaced the store.
    bypassed_at: Moment,
    /// The largest token granted in the current store's history.
    token: Option<FencingToken>,
    /// Since when each process's session has held it unwanted.
    unwanted_since: BTreeMap<usize, Moment>,
    /// Since when callers have waited for it while nobody held it.
    starved_since: Option<Moment>,
}

impl Seen {
    /// Notes the session that holds the key, and the key's `ModifyIndex`.
    fn note_holder(&mut self, holder: Option<&(SessionId, u64)>) {
        if let Some((session, _)) = holder {
            let same = self.owner.as_ref().is_some_and(|(owner, _)| owner == session);
            if !(self.held && same) {
                self.owner = holder.cloned();
            }
        }
        self.held = holder.is_some();
    }
}

/// What one check sees of a key.
struct Sight<'a> {
    key: &'a Key,
    seen: &'a mut Seen,
    holder: Option<(SessionId, u64)>,
    /// Whether a caller waits for it.
    is_awaited: bool,
    /// Whether any lease on it is valid.
    is_held: bool,
    /// The valid leases of one process.
    valid: u32,
}

/// The state of all checks.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    keys: BTreeMap<Key, Seen>,
    owned: Vec<Ownership>,
    /// The ownerships' numbers, the latest last.
    numbers: BTreeMap<OwnershipName, Vec<u64>>,
    /// Ownerships published as acquired and not yet as ended, by process, life and key.
    published: BTreeMap<(usize, u64, Key), FencingToken>,
    taken: BTreeSet<LeaseName>,
    told: BTreeSet<LeaseName>,
    returned: BTreeSet<LeaseName>,
}

/// How long an unwanted key may stay locked.
pub(super) const ORPHAN_LIMIT: Duration = Duration::from_millis(5_500);
/// How long a loss may go unreported while its process runs.
pub(super) const TELL_LIMIT: Duration = Duration::from_millis(1_500);

pub(super) fn index_of(token: FencingToken) -> u64 {
    token.as_u64() >> 16
}

impl Invariants {
    pub(super) fn new(keys: &[Key]) -> Self {
        let keys = keys.iter().map(|key| (key.clone(), Seen::default()));
        Self { keys: keys.collect(), ..Self::default() }
    }

    /// The number of the latest ownership of this name that is `like` this, if there is one.
    fn number(&self, name: &OwnershipName, like: impl Fn(u64, &Ownership) -> bool) -> Option<u64> {
        let mut numbers = self.numbers.get(name)?.iter().rev().copied();
        let of = |number: u64| self.owned.get((number as usize).wrapping_sub(1));
        numbers.find(|number| of(*number).is_some_and(|own| like(*number, own)))
    }

    /// The number of a new lease's ownership, or 0. If a session has had the key at the same index
    /// in two stores, it is one that has no such lease: a slow caller's may be of the earlier one.
    fn number_of_lease(&self, name: &OwnershipName, lease: &LeaseState) -> u64 {
        let is_under = |own: &Ownership| lease.is_under(&own.cell);
        let is_new = |number| !self.taken.contains(&(number, lease.token()));
        self.number(name, |number, own| is_under(own) && is_new(number))
            .or_else(|| self.number(name, |_, own| is_under(own)))
            .unwrap_or(0)
    }

    /// The session of the ownership numbered `owns`.
    pub(super) fn session_of(&self, owns: u64) -> Option<&SessionId> {
        let own = self.owned.get((owns as usize).wrapping_sub(1))?;
        Some(&own.session)
    }

    /// The session of the ownership numbered `owns`, unless the clocks were bypassed
    /// since it began.
    pub(super) fn protects(&self, key: &Key, owns: u64) -> Option<&SessionId> {
        let own = self.owned.get((owns as usize).wrapping_sub(1))?;
        let seen = self.keys.get(key)?;
        (own.applied_at > seen.bypassed_at).then_some(&own.session)
    }

    /// Whether the loss of this lease was reported.
    pub(super) fn was_told(&self, owns: u64, token: FencingToken) -> bool {
        self.told.contains(&(owns, token))
    }

    /// Evidence from the store against a valid lease of this ownership: another session
    /// has locked the key since.
    pub(super) fn contradiction(
        &self,
        key: &Key,
        token: FencingToken,
        owns: u64,
    ) -> Option<String> {
        let own = self.owned.get((owns as usize).wrapping_sub(1))?;
        let seen = self.keys.get(key).filter(|seen| own.applied_at > seen.bypassed_at)?;
        let (owner, index) = seen.owner.as_ref()?;
        let newer = *index > index_of(token) && *owner != own.session;
        newer.then(|| format!("session {} locked the key at {index}", short(owner)))
    }
}

impl World {
    /// Ends the history as a failure.
    pub(super) fn violate(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    /// Notes that the clocks were bypassed for a key.
    pub(super) fn bypassed(&mut self, key: &Key) {
        let now = self.now;
        self.invariants.keys.entry(key.clone()).or_default().bypassed_at = now;
    }

    /// Notes that the store was replaced.
    pub(super) fn store_replaced(&mut self) {
        let semaphore = self.permits.as_ref().map(|permits| permits.key.clone());
        self.permits.iter_mut().for_each(Permits::store_replaced);
        for key in self.keys.iter().cloned().chain(semaphore).collect::<Vec<_>>() {
            let now = self.now;
            let seen = self.invariants.keys.entry(key).or_default();
            (seen.bypassed_at, seen.token, seen.owner, seen.held) = (now, None, None, false);
        }
        self.writes.store_replaced();
    }

    /// Checks a new ownership.
    pub(super) fn check_won(
        &mut self,
        process: usize,
        key: &Key,
        index: u64,
        (session, cell): (SessionId, Arc<DeadlineCell>),
        token: Option<FencingToken>,
    ) {
        let session = &session;
        let life = self.processes[process].life;
        let lock = (key.clone(), session.clone(), index);
        let Some(&applied_at) = self.server.locks.get(&lock) else {
            return self.violate(|| {
                format!("G6: p{process} was granted {key} at {index}, where it was never locked")
            });
        };
        let own = Ownership { session: session.clone(), applied_at, cell };
        self.invariants.owned.push(own);
        let number = self.invariants.owned.len() as u64;
        let name = (process, life, key.clone(), index);
        self.invariants.numbers.entry(name).or_default().push(number);
        let Some(token) = token else { return };
        self.stats.grants += 1;
        let alive = self.server.is_alive(session);
        let holds = self.server.holder(key).is_some_and(|(holder, _)| holder == *session)
            || self.takeovers.ended(key, session, index);
        let seen = self.invariants.keys.entry(key.clone()).or_default();
        if applied_at <= seen.bypassed_at {
            return;
        }
        if self.is_semaphore(key) {
            return self.check_permit(process, session, token);
        }
        let seen = self.invariants.keys.entry(key.clone()).or_default();
        self.writes.granted(key, token);
        let former = seen.token;
        seen.token = seen.token.max(Some(token));
        if former.is_some_and(|former| former >= token) {
            self.violate(|| {
                format!("G3: p{process} was granted {key} with {token:?} after {former:?}")
            });
        } else if alive && !holds {
            self.violate(|| {
                format!("G6: p{process} was granted {key} at {index}, which is not locked by it")
            });
        }
    }

    /// Checks a caller's new lease, whether from Consul or handed over locally. Returns
    /// the number of its ownership, which may have ended long before a slow caller looks.
    pub(super) fn check_lease(&mut self, process: usize, lease: &LeaseState) -> u64 {
        let (key, token) = (lease.key(), lease.token());
        let number = self.invariants.number_of_lease(&self.own_name(process, key, token), lease);
        self.check_taken(process, key, token, number);
        number
    }

    /// Checks a new lease or term of this ownership.
    pub(super) fn check_taken(
        &mut self,
        process: usize,
        key: &Key,
        token: FencingToken,
        number: u64,
    ) {
        if token.as_u64() & 0xFFFF > 0 {
            self.stats.handed_over += 1;
        }
        if self.invariants.protects(key, number).is_some() {
            self.writes.granted(key, token);
        }
        if number == 0 {
            self.violate(|| format!("G3: p{process} has a lease on {key} without an ownership"));
        } else if !self.invariants.taken.insert((number, token)) {
            self.violate(|| format!("G3: p{process} has two leases on {key} with {token:?}"));
        }
    }

    /// The number of the latest ownership with this token.
    pub(super) fn ownership(&self, process: usize, key: &Key, token: FencingToken) -> u64 {
        self.invariants.number(&self.own_name(process, key, token), |_, _| true).unwrap_or(0)
    }

    fn own_name(&self, process: usize, key: &Key, token: FencingToken) -> OwnershipName {
        (process, self.processes[process].life, key.clone(), index_of(token))
    }

    /// Notes that a caller released its lease.
    pub(super) fn note_returned(&mut self, number: u64, token: FencingToken) {
        self.invariants.returned.insert((number, token));
    }

    /// Checks a published `LockAcquired`.
    pub(super) fn check_acquired(&mut self, process: usize, key: &Key, token: FencingToken) {
        let owner = (process, self.processes[process].life, key.clone());
        if let Some(former) = self.invariants.published.insert(owner, token) {
            self.violate(|| {
                format!("G2: p{process} published two acquisitions of {key}: {former:?}, {token:?}")
            });
        }
    }

    /// Checks a published `LockLost` or `LockReleased`.
    pub(super) fn check_ended(&mut self, process: usize, key: &Key, token: FencingToken) {
        let owner = (process, self.processes[process].life, key.clone());
        let acquired = self.invariants.published.remove(&owner);
        if acquired.is_none_or(|acquired| index_of(acquired) != index_of(token)) {
            self.violate(|| {
                format!("G2: p{process} published the end of {key} {token:?} after {acquired:?}")
            });
        }
    }

    /// An ownership still published as acquired after all callers have gone.
    pub(super) fn never_ended(&self) -> Option<String> {
        let lives = |(id, life, _): &&(usize, u64, Key)| self.processes[*id].life == *life;
        let (id, _, key) = self.invariants.published.keys().find(lives)?;
        Some(format!("G2: p{id} never published the end of its ownership of {key}"))
    }

    /// Checks a published `LockLost`.
    pub(super) fn check_told(
        &mut self,
        process: usize,
        key: Key,
        token: FencingToken,
        reason: LossReason,
        still_valid: bool,
    ) {
        self.stats.losses += 1;
        self.check_ended(process, &key, token);
        *self.stats.reasons.entry(format!("{reason:?}")).or_default() += 1;
        let lease = (self.ownership(process, &key, token), token);
        let session = self.invariants.protects(&key, lease.0);
        let alive = session.is_some_and(|session| self.server.is_alive(session));
        if reason == LossReason::SessionGone && alive && !self.restored {
            self.violate(|| format!("G5: p{process} lost {key} though its session is alive"));
        } else if still_valid {
            self.violate(|| {
                format!("G2: p{process} reported the loss of {key} while it was valid")
            });
        } else if self.invariants.returned.contains(&lease) {
            self.violate(|| format!("G2: p{process} reported the loss of {key} after its release"));
        } else if self.plan.class == Class::Interruptions {
            self.violate(|| format!("G5: p{process} lost {key} to an interruption: {reason}"));
        }
        if !self.invariants.told.insert(lease) {
            self.violate(|| format!("G2: p{process} reported a loss twice"));
        }
    }

    /// Checks that a process has reported its losses before it cleans up or contends
    /// again.
    pub(super) fn check_told_before(&mut self, process: usize, question: &Question) {
        self.check_deposed_before(process, question);
        let host = &self.processes[process];
        let owned = &self.invariants.owned;
        let concerned = |caller: &Caller| match question {
            _ if question.contends_for(&caller.key) => true,
            Question::Slot(_, SlotQuestion::Release { ask, .. }) => ask.key == caller.key,
            Question::Slot(_, SlotQuestion::Leave { ask, .. }) => ask.key == caller.key,
            Question::Session(SessionQuestion::Create { .. }) => true,
            Question::Session(SessionQuestion::Destroy { ask, .. }) => owned
                .get((caller.owns as usize).wrapping_sub(1))
                .is_some_and(|own| own.session == ask.session),
            _ => false,
        };
        let untold = host.callers.values().find_map(|caller| {
            let token = caller.lease.as_ref()?.token();
            let told = self.invariants.told.contains(&(caller.owns, token));
            (!told && concerned(caller)).then(|| (caller.key.clone(), token))
        });
        if let Some((key, token)) = untold {
            self.violate(|| {
                format!(
                    "G2: p{process} asked to {question} before it reported the loss of {key} {token:?}"
                )
            });
        }
    }

    /// Checks everything that is visible from outside.
    pub(super) fn check(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.processes.iter().for_each(|process| process.set_time(self.now));
        self.check_keys();
        self.check_claims();
        self.check_terms();
        self.check_sets();
        self.check_permits();
    }

    fn check_keys(&mut self) {
        let now = self.now;
        let Invariants { keys, told, owned, .. } = &mut self.invariants;
        let mut wrong = None;
        let sights = keys.iter_mut().filter(|(key, _)| self.keys.contains(key));
        let mut sights: Vec<Sight<'_>> = sights
            .map(|(key, seen)| {
                let holder = self.server.holder(key);
                seen.note_holder(holder.as_ref().filter(|(it, _)| !self.takeovers.keeps(it)));
                Sight { key, seen, holder, is_held: false, is_awaited: false, valid: 0 }
            })
            .collect();
        debug_assert_eq!(sights.len(), self.keys.len());
        for (id, process) in self.processes.iter_mut().enumerate() {
            for caller in process.callers.values_mut() {
                let Some(sight) = sights.iter_mut().find(|sight| *sight.key == caller.key) else {
                    continue;
                };
                sight.is_awaited |= caller.is_waiting();
                let Some(lease) = &caller.lease else { continue };
                let (key, token) = (sight.key, lease.token());
                let was_told = told.contains(&(caller.owns, token));
                if !lease.would_be_valid() {
                    caller.was_invalid = true;
                    let since = *caller.untold_since.get_or_insert(now);
                    let since = since.max(self.runs_since[id]);
                    if was_told || self.paused[id] {
                        caller.untold_since = None;
                    } else if now.since(since) > TELL_LIMIT {
                        wrong = Some(format!("G2: p{id} does not report the loss of {key}"));
                    }
                    continue;
                }
                sight.valid += 1;
                sight.is_held = true;
                if caller.was_invalid {
                    wrong = Some(format!("G1: p{id}'s lease on {key} is valid again"));
                }
                if was_told {
                    wrong = Some(format!("G1: p{id}'s lease on {key} is valid after its loss"));
                }
                let Some(own) = owned.get((caller.owns as usize).wrapping_sub(1)) else {
                    continue;
                };
                if own.applied_at <= sight.seen.bypassed_at {
                    continue;
                }
                if let Some((owner, index)) = &sight.seen.owner
                    && *index > index_of(token)
                    && *owner != own.session
                    && !self.takeovers.may_be_unheard(
                        now,
                        self.runs_since[id],
                        (key, &own.session, index_of(token)),
                    )
                {
                    let (owner, token) = (short(owner), index_of(token));
                    wrong = Some(format!(
                        "G1: p{id}'s lease on {key} of {token} is valid, and session {owner} \
                         locked the key at {index}"
                    ));
                } else if self.server.is_alive(&own.session)
                    && !self.takeovers.ended(key, &own.session, index_of(token))
                    && sight.holder.as_ref().is_none_or(|(session, _)| *session != own.session)
                {
                    wrong = Some(format!(
                        "G6: p{id}'s lease on {key} of {} is valid, and the key is not locked \
                         by its session, which lives",
                        index_of(token)
                    ));
                }
            }
            for Sight { key, seen, holder, valid, .. } in &mut sights {
                let valid = std::mem::take(valid);
                if valid > 1 {
                    wrong = Some(format!("G1: p{id} has {valid} valid leases on {key}"));
                }
                // Includes locks of earlier sessions, which the process must destroy. It cannot
                // know of one that a snapshot has brought back.
                let ours = holder.as_ref().is_some_and(|lock| {
                    let is_risen = || self.risen.contains(&((*key).clone(), lock.clone()));
                    !process.is_over && process.sessions.contains_key(&lock.0) && !is_risen()
                });
                if ours && !process.wants(key) {
                    let since = *seen.unwanted_since.entry(id).or_insert(now);
                    let since = since.max(self.disturbed[id]);
                    if now.since(since) > ORPHAN_LIMIT {
                        wrong = Some(format!(
                            "G4: p{id} keeps {key} locked, and nobody there wants it"
                        ));
                    }
                } else {
                    seen.unwanted_since.remove(&id);
                }
            }
        }
        for Sight { seen, is_held, is_awaited, .. } in sights {
            if is_awaited && !is_held {
                let since = *seen.starved_since.get_or_insert(now);
                self.stats.longest_wait = self.stats.longest_wait.max(now.since(since));
            } else {
                seen.starved_since = None;
            }
        }
        if let Some(wrong) = wrong {
            self.violate(|| wrong);
        }
    }

    /// Checks that at most one lease or term on a key is valid.
    fn check_claims(&mut self) {
        let mut wrong = None;
        for key in &self.keys {
            let mut claimant = None;
            for (id, process) in self.processes.iter().enumerate() {
                let callers = process.callers.values().filter(|caller| caller.key == *key);
                let leases = callers.filter_map(|caller| {
                    let lease = caller.lease.as_ref().filter(|lease| lease.would_be_valid())?;
                    Some((lease.token(), caller.owns))
                });
                let terms = process.terms(key).filter(|(_, is_valid)| *is_valid);
                let terms = terms.map(|(token, _)| (token, self.ownership(id, key, token)));
                let claims: BTreeSet<LeaseName> =
                    leases.chain(terms).map(|(token, owns)| (owns, token)).collect();
                if claims.len() > 1 {
                    wrong = Some(format!("G1: p{id} has {claims:?} on {key} at once"));
                }
                let excludes_others = |(owns, token): &LeaseName| {
                    self.invariants.protects(key, *owns).is_some_and(|session| {
                        let lease = (key, session, index_of(*token));
                        !self.takeovers.may_be_unheard(self.now, self.runs_since[id], lease)
                    })
                };
                if claims.iter().any(excludes_others)
                    && let Some(other) = claimant.replace(id)
                {
                    wrong = Some(format!("G1: p{other} and p{id} hold or lead {key} at once"));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.violate(|| wrong);
        }
    }
}
