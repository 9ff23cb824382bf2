//! Callers that want a permit of a semaphore, and their checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    caller::{Caller, Conduct, Ending},
    calls::kind_of,
    event::Event,
    invariants::{ORPHAN_LIMIT, TELL_LIMIT},
    operator::Act,
    plan::{Class, Plan},
    process::Process,
    question::{Question, short},
    random::Random,
    server::Server,
    world::World,
};
use crate::{
    clock::Moment,
    consul::{
        ask::Left,
        fact::{Expect, SessionId},
        roster::{Roster, SEMAPHORE_FLAGS, contender},
    },
    embedded::engine::PutMode,
    error::Error,
    holding::slot_question::SlotQuestion,
    key::Key,
    protocol::{queue::Patience, seat::Kind},
    token::FencingToken,
};

/// The semaphore of a history, and the state of its checks.
#[derive(Debug)]
pub(super) struct Permits {
    pub(super) key: Key,
    pub(super) limit: u32,
    random: Random,
    /// Whether the semaphore's actor dies, or a lock's.
    deaths: Random,
    /// The tokens granted in the current store's history.
    tokens: BTreeSet<FencingToken>,
    /// Since when each session has been a holder unwanted.
    unwanted_since: BTreeMap<SessionId, Moment>,
    /// The entry's last value, and what it says.
    read: (Vec<u8>, Option<Roster>),
}

/// How long after the faults the last ended holder is removed, beyond its session's end.
pub(super) const PASSES: Duration = Duration::from_secs(75);

impl Permits {
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let limit = plan.semaphore?;
        Some(Self {
            key: Key::new("s/.lock").ok()?,
            limit,
            random: Random::new(plan.seed ^ 0x7065_726d),
            deaths: Random::new(plan.seed ^ 0x6465_6164),
            tokens: BTreeSet::new(),
            unwanted_since: BTreeMap::new(),
            read: (Vec::new(), None),
        })
    }

    pub(super) fn store_replaced(&mut self) {
        self.tokens.clear();
    }

    /// The semaphore, if its actor dies instead of a lock's.
    pub(super) fn dies_instead(&mut self) -> Option<Key> {
        self.deaths.chance(500).then(|| self.key.clone())
    }

    /// Reads the entry, if it has changed.
    fn read(&mut self, server: &Server) {
        let pair = server.api.engine.pair(self.key.as_str().as_bytes());
        let value = pair.map_or(&[][..], |pair| &pair.value);
        if self.read.0 != value {
            self.read = (value.to_vec(), roster(value));
        }
    }
}

fn roster(value: &[u8]) -> Option<Roster> {
    Roster::parse(value).ok().flatten()
}

/// The holders that an entry names.
fn holders(value: &[u8]) -> BTreeSet<SessionId> {
    roster(value).map(|roster| roster.holders).unwrap_or_default()
}

impl World {
    /// Whether the key is the history's semaphore.
    pub(super) fn is_semaphore(&self, key: &Key) -> bool {
        self.permits.as_ref().is_some_and(|permits| permits.key == *key)
    }

    /// A new caller requests a permit.
    pub(super) fn enlist(&mut self, process: usize, life: u64) {
        if self.is_healed() {
            return;
        }
        let (now, plan) = (self.now, &self.plan);
        let Some(permits) = &mut self.permits else { return };
        let r = &mut permits.random;
        let pause = r.skewed_millis(1..=2 * plan.call_every);
        let gives_up = r.chance(400).then(|| r.skewed_millis(1..=plan.longest_wait));
        let conduct = Conduct {
            patient: r.chance(750),
            looks_at: now,
            gives_up_at: gives_up.map(|pause| now + pause),
            hold: r.skewed_millis(0..=plan.longest_hold),
            ending: r.pick(&[Ending::Release, Ending::Drop]),
            heedful: r.chance(500),
        };
        // Some callers, and sometimes an operator, believe that the semaphore has another limit.
        let limit = permits.limit;
        let other = r.pick(&[limit + 1, limit.max(2) - 1]);
        let asked = if r.chance(150) { other } else { limit };
        let edits = r.chance(20) && plan.class != Class::Interruptions;
        let edited = edits.then(|| r.pick(&[(other, SEMAPHORE_FLAGS), (limit, 0)]));
        if !self.processes[process].is_ending() {
            self.want_permit(process, asked, conduct);
        }
        if let Some((limit, flags)) = edited {
            self.operate(Act::EditSemaphore { limit, flags });
        }
        self.after(pause, Event::Enlist { process, life });
    }

    pub(super) fn want_permit(&mut self, process: usize, limit: u32, conduct: Conduct) {
        let Some(key) = self.permits.as_ref().map(|permits| permits.key.clone()) else { return };
        self.calls += 1;
        let (id, now) = (self.calls, self.now);
        let host = &mut self.processes[process];
        if host.callers.len() >= 20 && self.healed_at.is_none() {
            return;
        }
        let life = host.life;
        let patience = if conduct.patient { Patience::Unlimited } else { Patience::None };
        let value: Arc<[u8]> = Arc::from(format!("p{process}").into_bytes());
        self.trace.note(now, id, || {
            let (patient, hold) = (conduct.patient, conduct.hold);
            format!(
                "p{process}      caller {id} wants a permit of {limit}, patient: {patient}, for \
                 {hold:?}"
            )
        });
        let entered = match host.wards.slots().enter_semaphore(&key, limit, patience, value) {
            Ok(entered) => entered,
            Err(error @ Error::LimitConflict { .. }) => {
                return *self.stats.refusals.entry(kind_of(&error)).or_default() += 1;
            }
            Err(_) => return self.violate(|| "a semaphore's caller was turned away".into()),
        };
        if entered.is_new {
            host.opened(&entered.slot);
        }
        host.callers.insert(id, Caller::new(entered, conduct, now));
        if let Some(at) = conduct.gives_up_at {
            self.after(at.since(now), Event::Caller { process, life, caller: id });
        }
        self.settle(process);
    }

    /// After all faults, every process wants a permit once more.
    pub(super) fn want_permits_again(&mut self) {
        let Some(limit) = self.permits.as_ref().map(|permits| permits.limit) else { return };
        for process in 0..self.processes.len() {
            let conduct = Conduct::at_the_end(self.now);
            self.processes[process].set_time(self.now);
            self.want_permit(process, limit, conduct);
        }
    }

    /// The holders of the semaphore, according to the store.
    pub(super) fn permit_holders(&self) -> BTreeSet<SessionId> {
        let Some(permits) = &self.permits else { return BTreeSet::new() };
        let pair = self.server.api.engine.pair(permits.key.as_str().as_bytes());
        pair.map(|pair| holders(&pair.value)).unwrap_or_default()
    }

    /// Checks a new permit.
    pub(super) fn check_permit(
        &mut self,
        process: usize,
        session: &SessionId,
        token: FencingToken,
    ) {
        let alive = self.server.is_alive(session);
        let is_holder = self.permit_holders().contains(session);
        let Some(permits) = &mut self.permits else { return };
        if !permits.tokens.insert(token) {
            self.violate(|| format!("G3: p{process} was granted a permit with {token:?} again"));
        } else if alive && !is_holder {
            self.violate(|| {
                format!("G6: p{process} was granted a permit, and its session is no holder")
            });
        }
    }

    /// Checks that no more permits than the limit are valid, and that no holder is
    /// forgotten.
    pub(super) fn check_permits(&mut self) {
        let Some(permits) = &mut self.permits else { return };
        permits.read(&self.server);
        let (key, roster, now) = (&permits.key, &permits.read.1, self.now);
        let is_holder =
            |session| roster.as_ref().is_some_and(|roster| roster.holders.contains(session));
        let (mut valid, mut wrong) = (0_u64, None);
        let former = std::mem::take(&mut permits.unwanted_since);
        for (id, process) in self.processes.iter_mut().enumerate() {
            let mut here = 0;
            for caller in process.callers.values_mut().filter(|caller| caller.key == *key) {
                let Some(lease) = &caller.lease else { continue };
                let token = lease.token();
                let told = self.invariants.was_told(caller.owns, token);
                if !lease.would_be_valid() {
                    caller.was_invalid = true;
                    let since = *caller.untold_since.get_or_insert(now);
                    let since = since.max(self.runs_since[id]);
                    if told || self.paused[id] {
                        caller.untold_since = None;
                    } else if now.since(since) > TELL_LIMIT {
                        wrong = Some(format!("G2: p{id} does not report the loss of its permit"));
                    }
                    continue;
                }
                here += 1;
                if caller.was_invalid || told {
                    wrong = Some(format!("G1: p{id}'s permit is valid again, or after its loss"));
                }
                let Some(session) = self.invariants.protects(key, caller.owns) else { continue };
                valid += 1;
                if roster.as_ref().is_some_and(|it| caller.kind() != Kind::Permit(it.limit as u32))
                {
                    wrong = Some(format!("G1: p{id} has a permit of a semaphore of another limit"));
                }
                if self.server.is_alive(session) && !is_holder(session) {
                    let session = short(session);
                    wrong = Some(format!(
                        "G6: p{id}'s permit is valid, and its session {session}, which lives, is \
                         no holder"
                    ));
                }
            }
            if here > 1 {
                wrong = Some(format!("G1: p{id} has {here} valid leases on one permit"));
            }
            let wants = process.wants(key);
            for (session, is_closed) in &process.sessions {
                // The process must destroy a closed session, even if somebody there wants a permit.
                let is_unwanted = if *is_closed { self.server.is_alive(session) } else { !wants };
                if process.is_over || !is_unwanted || !is_holder(session) {
                    continue;
                }
                let since = former.get(session).copied().unwrap_or(now);
                permits.unwanted_since.insert(session.clone(), since);
                if now.since(since.max(self.disturbed[id])) > ORPHAN_LIMIT {
                    wrong = Some(match is_closed {
                        true => {
                            format!("G4: p{id}'s closed session {session} lives, and has a permit")
                        }
                        false => format!("G4: p{id} keeps a permit that nobody there wants"),
                    });
                }
            }
        }
        if let Some(Roster { limit, .. }) = roster
            && valid > *limit
        {
            wrong = Some(format!("G1: {valid} permits of a semaphore of {limit} are valid"));
        }
        if let Some(wrong) = wrong {
            self.violate(|| wrong);
        }
    }

    /// Somebody writes the semaphore's entry with this limit and these flags. The holders stay.
    pub(super) fn edit_semaphore(&mut self, limit: u32, flags: u64) {
        let Some(key) = self.permits.as_ref().map(|permits| permits.key.clone()) else { return };
        let (now, name) = (self.now, key.as_str().as_bytes());
        let engine = &mut self.server.api.engine;
        let Some(pair) = engine.pair(name) else { return };
        let Some(roster) = roster(&pair.value) else { return };
        if (roster.limit, pair.flags) == (limit.into(), flags) {
            return;
        }
        self.stats.fault("semaphore edited");
        let value = Roster { limit: limit.into(), ..roster }.to_bytes();
        // A plain write is never refused.
        let _ = engine.put(now, name, value, flags, PutMode::Plain);
        self.bypassed(&key);
    }

    /// Writes the semaphore's entry as it was before somebody edited it.
    pub(super) fn mend_semaphore(&mut self) {
        if let Some(limit) = self.permits.as_ref().map(|permits| permits.limit) {
            self.edit_semaphore(limit, SEMAPHORE_FLAGS);
        }
    }

    /// Removes the living holders whose processes do not know of their permits, which a
    /// snapshot has brought back.
    pub(super) fn withdraw_permits(&mut self, knows: impl Fn(&Process, &Key) -> bool) {
        let Some(key) = self.permits.as_ref().map(|permits| permits.key.clone()) else { return };
        let is_risen = |session: &SessionId| {
            let mut processes = self.processes.iter();
            let is_known =
                processes.any(|it| it.live_session() == Some(session) && knows(it, &key));
            self.server.is_alive(session) && !is_known
        };
        let holders = self.permit_holders();
        let risen: Vec<_> = holders.iter().filter(|it| is_risen(it)).collect();
        let (engine, name) = (&mut self.server.api.engine, key.as_str().as_bytes());
        let Some(pair) = engine.pair(name).filter(|_| !risen.is_empty()) else { return };
        let Ok(Some(roster)) = Roster::parse(&pair.value) else { return };
        let (value, flags) = (roster.without(risen).to_bytes(), pair.flags);
        // A plain write is never refused.
        let _ = engine.put(self.now, name, value, flags, PutMode::Plain);
    }

    /// Whether the request was meant for other holders, and nothing in Consul shows it: the
    /// semaphore's entry has the expected index again in a restored store.
    pub(super) fn is_misled(&self, question: &Question) -> bool {
        use SlotQuestion::{Join, Leave, Prune};
        let Question::Slot(slot, question) = question else { return false };
        if !self.restored {
            return false;
        }
        let engine = &self.server.api.engine;
        let index_of = |name: &str| engine.pair(name.as_bytes()).map(|pair| pair.modify_index);
        let semaphore = slot.key.as_str();
        let own = |session| index_of(&contender(semaphore, session));
        let written = |left: &Left| match left {
            Left::Roster(value) => holders(value),
            Left::Nothing => BTreeSet::new(),
        };
        // Who comes or goes, and who is written.
        let (index, changed, mut meant, is_met): (_, Vec<_>, _, _) = match question {
            Join { ask, .. } => {
                let Expect::Index(index) = ask.expect else { return false };
                (index, vec![&ask.session], holders(&ask.roster), true)
            }
            Leave { ask, .. } => {
                let is_met = ask.own.is_none() || ask.own == own(&ask.session);
                (ask.index, vec![&ask.session], written(&ask.left), is_met)
            }
            Prune { ask, .. } => {
                let is_met = ask.ended.iter().all(|(session, index)| own(session) == *index);
                let ended = ask.ended.iter().map(|(session, _)| session);
                (ask.index, ended.collect(), written(&ask.left), is_met)
            }
            _ => return false,
        };
        let mut actual = self.permit_holders();
        meant.retain(|session| !changed.contains(&session));
        actual.retain(|session| !changed.contains(&session));
        is_met && index_of(semaphore) == Some(index) && meant != actual
    }

    /// A living session that is a holder.
    pub(super) fn permit_left(&self) -> Option<SessionId> {
        self.permit_holders().into_iter().find(|session| self.server.is_alive(session))
    }
}
