//! Callers that want several keys at once, and their checks.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::FutureExt as _;

use super::{
    caller::{Caller, Conduct, Ending},
    calls::kind_of,
    event::Event,
    invariants::ORPHAN_LIMIT,
    process::Process,
    world::World,
};
use crate::{
    clock::Moment,
    error::Error,
    holding::party::{Party, Unserved},
    key::Key,
};

/// The most callers of a process that wait for several keys.
const MOST: usize = 4;

/// A caller that waits for several keys.
pub(super) struct Troop {
    party: Party,
    pub(super) keys: BTreeSet<Key>,
    conduct: Conduct,
    pub(super) asked_at: Moment,
    value: Arc<[u8]>,
    /// Since when it has had some of its keys but not all.
    partly_since: Option<Moment>,
    /// Whether its caller leaves, on another thread, while its locks are being sent.
    flees: bool,
}

impl Process {
    /// The locks of these keys are being sent for a set.
    pub(super) fn sending<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        let keys: BTreeSet<&Key> = keys.collect();
        self.troops.retain(|_, troop| !(troop.flees && troop.keys.iter().eq(keys.iter().copied())));
    }
}

impl Troop {
    /// The whole state as text, for explorations.
    pub(super) fn anatomy(&self) -> String {
        let granted = self.party.granted();
        format!("{:?} {granted} {:?} {:?}", self.keys, self.conduct.ending, self.partly_since)
    }

    /// It no longer waits.
    pub(super) fn give_up_at(&mut self, at: Moment) {
        self.conduct.gives_up_at = Some(at);
    }
}

impl World {
    /// A new caller requests several keys.
    pub(super) fn muster(&mut self, process: usize, life: u64) {
        if self.is_healed() {
            return;
        }
        let r = &mut self.sets_random;
        let pause = r.skewed_millis(1..=2 * self.plan.call_every);
        let mut keys = self.keys.clone();
        let most = keys.len();
        while keys.len() > r.within(1..=most as u64) as usize {
            keys.swap_remove(r.below(keys.len()));
        }
        let gives_up = r.chance(400).then(|| r.skewed_millis(1..=30_000));
        let conduct = Conduct {
            patient: true,
            looks_at: self.now,
            gives_up_at: gives_up.map(|pause| self.now + pause),
            hold: r.skewed_millis(0..=self.plan.longest_hold),
            ending: r.pick(&[Ending::Release, Ending::Drop]),
            heedful: r.chance(500),
        };
        let host = &self.processes[process];
        if !host.is_ending() && host.troops.len() < MOST {
            self.join(process, keys.into_iter().collect(), conduct);
        }
        self.after(pause, Event::Muster { process, life });
    }

    pub(super) fn join(&mut self, process: usize, keys: BTreeSet<Key>, conduct: Conduct) {
        self.calls += 1;
        let (id, now) = (self.calls, self.now);
        self.trace.note(now, id, || {
            format!("p{process}      set {id} wants {keys:?} for {:?}", conduct.hold)
        });
        let value: Arc<[u8]> = Arc::from(format!("p{process} s{}", id % 3).into_bytes());
        let Some(party) = self.enter_all(process, &keys, &value) else { return };
        let flees = self.sets_random.chance(30);
        let troop = Troop { party, keys, conduct, asked_at: now, value, partly_since: None, flees };
        let host = &mut self.processes[process];
        host.troops.insert(id, troop);
        let life = host.life;
        if let Some(at) = conduct.gives_up_at {
            self.after(at.since(now), Event::Caller { process, life, caller: id });
        }
        self.settle(process);
    }

    fn enter_all(
        &mut self,
        process: usize,
        keys: &BTreeSet<Key>,
        value: &Arc<[u8]>,
    ) -> Option<Party> {
        let host = &mut self.processes[process];
        let party = match Party::enter(host.wards.slots(), keys, value.clone()) {
            Ok(party) => party,
            Err(Error::Stopped) => return None,
            Err(error) => {
                self.violate(|| format!("a set's caller was turned away: {error}"));
                return None;
            }
        };
        let new = party.entered().filter(|entered| entered.is_new).map(|it| it.slot.clone());
        for slot in new.collect::<Vec<_>>() {
            host.opened(&slot);
        }
        Some(party)
    }

    /// Polls all waiting sets. Returns whether any got an answer.
    pub(super) fn look_at_sets(&mut self, process: usize) -> bool {
        let now = self.now;
        let ids: Vec<u64> = self.processes[process].troops.keys().copied().collect();
        let mut any = false;
        for id in ids {
            let host = &mut self.processes[process];
            let Some(troop) = host.troops.get_mut(&id) else { continue };
            if troop.conduct.gives_up_at.is_some_and(|at| at <= now) && self.healed_at.is_none() {
                self.trace.note(now, id, || format!("p{process}      set {id} gives up"));
                host.troops.remove(&id);
                any = true;
                continue;
            }
            let answer = troop.party.answer().now_or_never();
            let is_partly = troop.party.granted() > 0;
            troop.partly_since = is_partly.then(|| troop.partly_since.unwrap_or(now));
            let Some(answer) = answer else { continue };
            any = true;
            let Some(mut troop) = host.troops.remove(&id) else { continue };
            match answer {
                Ok(grants) => {
                    self.trace.note(now, id, || format!("p{process}      set {id} is complete"));
                    self.stats.sets += 1;
                    let slots = troop.party.entered().map(|entered| entered.slot.clone());
                    let slots: Vec<_> = slots.collect();
                    if self.healed_at.is_some() {
                        troop.conduct.hold = troop.conduct.hold.min(Duration::from_millis(50));
                    }
                    for (slot, grant) in slots.into_iter().zip(grants) {
                        self.calls += 1;
                        let caller = self.calls;
                        let owns = self.check_lease(process, grant.state());
                        let mut member = Caller::granted(slot, grant, troop.conduct, now);
                        member.owns = owns;
                        let host = &mut self.processes[process];
                        let life = host.life;
                        host.callers.insert(caller, member);
                        self.after(Duration::ZERO, Event::Caller { process, life, caller });
                    }
                }
                Err(Unserved::Refused(error)) => {
                    self.trace
                        .note(now, id, || format!("p{process}      set {id} is refused: {error}"));
                    *self.stats.refusals.entry(kind_of(&error)).or_default() += 1;
                }
                Err(Unserved::Broken) => {
                    self.stats.fault("set asked anew");
                    self.trace.note(now, id, || format!("p{process}      set {id} asks anew"));
                    // Its grants end before it enters the queues again.
                    let Troop { party, keys, value, conduct, asked_at, flees, .. } = troop;
                    drop(party);
                    let Some(party) = self.enter_all(process, &keys, &value) else { continue };
                    let partly_since = None;
                    let troop =
                        Troop { party, keys, conduct, asked_at, value, partly_since, flees };
                    self.processes[process].troops.insert(id, troop);
                }
            }
        }
        any
    }

    /// Checks that no set keeps a part of its keys while it waits for the others.
    pub(super) fn check_sets(&mut self) {
        let now = self.now;
        let mut wrong = None;
        for (id, process) in self.processes.iter().enumerate().filter(|(id, _)| !self.paused[*id]) {
            for troop in process.troops.values() {
                let Some(since) = troop.partly_since else { continue };
                let since = since.max(self.runs_since[id]);
                if now.since(since) > ORPHAN_LIMIT {
                    let keys = &troop.keys;
                    wrong = Some(format!("G4: p{id} keeps a part of {keys:?} for a waiting set"));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.violate(|| wrong);
        }
    }
}
