//! Campaigns, resignations and observations, and their checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    event::Event,
    invariants::{TELL_LIMIT, index_of},
    plan::Class,
    process::Process,
    question::Question,
    world::World,
};
use crate::holding::{keeping::SessionQuestion, slot_question::SlotQuestion};
use crate::{clock::Moment, key::Key, ownership::LossReason, token::FencingToken};

/// A term whose start was published and whose end was not.
#[derive(Clone, Copy, Debug)]
struct Told {
    token: FencingToken,
    /// The number of the ownership.
    owns: u64,
    /// Since when the tenure no longer shows it as valid.
    over_since: Option<Moment>,
}

/// The state of the election checks.
#[derive(Debug, Default)]
pub(super) struct Elections {
    /// The open terms, by process, life and key.
    told: BTreeMap<(usize, u64, Key), Told>,
    /// Processes that reported themselves as leader, and no other or missing leader
    /// since.
    known: BTreeSet<(usize, u64, Key)>,
    /// The end of each cool-down.
    rests: BTreeMap<(usize, u64, Key), Moment>,
    /// When all campaigns were ended, so that the other callers get a turn.
    pub(super) over_at: Option<Moment>,
}

impl World {
    /// Makes a process campaign, resign, or start or stop observing.
    pub(super) fn stand(&mut self, process: usize, life: u64) {
        if self.is_healed() {
            return;
        }
        let r = &mut self.random;
        let pause = r.skewed_millis(1..=2 * self.plan.elect_every);
        let key = self.keys[r.below(self.keys.len())].clone();
        let observes = r.chance(300);
        let cool_down = r.chance(500).then(|| r.skewed_millis(0..=10_000));
        if let Some(term) = self.processes[process].taken.get(&key).map(|term| term.state().clone())
        {
            self.maybe_write(process, &term);
        }
        let host = &mut self.processes[process];
        let (now, at) = (self.now, process as u64);
        if observes {
            let began = host.toggle_observation(&key);
            self.trace
                .note(now, at, || format!("p{process}      observes {key} from now on: {began}"));
            self.settle(process);
        } else if host.tenures.contains_key(&key) {
            self.resign(process, &key, cool_down);
        } else {
            self.campaign(process, &key);
        }
        self.after(pause, Event::Stand { process, life });
    }

    /// Makes a process campaign.
    pub(super) fn campaign(&mut self, process: usize, key: &Key) {
        let host = &mut self.processes[process];
        self.elections.rests.remove(&(process, host.life, key.clone()));
        host.campaign(key, Arc::from(format!("p{process} leads").into_bytes()));
        self.trace
            .note(self.now, process as u64, || format!("p{process}      campaigns for {key}"));
        self.settle(process);
    }

    /// Makes a process resign, for a while or for good.
    pub(super) fn resign(&mut self, process: usize, key: &Key, cool_down: Option<Duration>) {
        let (host, now) = (&mut self.processes[process], self.now);
        host.resign(key, cool_down);
        let until = now + cool_down.map_or(Duration::ZERO, |pause| host.world_span(pause));
        self.elections.rests.insert((process, host.life, key.clone()), until);
        self.trace.note(now, process as u64, || {
            format!("p{process}      resigns {key} for {cool_down:?}")
        });
        self.settle(process);
    }

    /// Checks a published `Elected`.
    pub(super) fn check_elected(&mut self, process: usize, key: &Key, token: FencingToken) {
        self.stats.elections += 1;
        let owns = self.ownership(process, key, token);
        self.check_taken(process, key, token, owns);
        let life = self.processes[process].life;
        let told = Told { token, owns, over_since: None };
        if self.elections.told.insert((process, life, key.clone()), told).is_some() {
            self.violate(|| format!("G2: p{process} was elected twice for {key}"));
        }
        self.elections.known.insert((process, life, key.clone()));
    }

    /// Notes a published `LeaderChanged`.
    pub(super) fn note_leader(&mut self, process: usize, key: &Key, leader: Option<&str>) {
        let host = &self.processes[process];
        let own = host.live_session().map(ToString::to_string);
        if leader.is_none() || leader != own.as_deref() {
            self.elections.known.remove(&(process, host.life, key.clone()));
        }
    }

    /// A process that still reports itself as leader at the end.
    pub(super) fn leads_to_the_last(&self) -> Option<String> {
        let lives = |(id, life, _): &&(usize, u64, Key)| self.processes[*id].life == *life;
        let (id, _, key) = self.elections.known.iter().find(lives)?;
        Some(format!("p{id} still reports that it leads {key}"))
    }

    /// Checks a published `Deposed`.
    pub(super) fn check_deposed(
        &mut self,
        process: usize,
        key: &Key,
        token: FencingToken,
        reason: LossReason,
        still_valid: bool,
    ) {
        let life = self.processes[process].life;
        let told = self.elections.told.remove(&(process, life, key.clone()));
        if told.is_none_or(|told| told.token != token) {
            self.violate(|| {
                format!("G2: p{process} was deposed from {key} {token:?} after {told:?}")
            });
        } else if still_valid {
            self.violate(|| format!("G2: p{process} was deposed from {key} while it led"));
        } else if self.plan.class == Class::Interruptions && reason != LossReason::Resigned {
            self.violate(|| format!("G5: p{process} lost {key} to an interruption: {reason}"));
        }
    }

    /// Checks that a process has reported its depositions before it cleans up or
    /// contends again.
    pub(super) fn check_deposed_before(&mut self, process: usize, question: &Question) {
        let life = self.processes[process].life;
        let untold = self.elections.told.iter().find(|((of, in_life, key), told)| {
            *of == process
                && *in_life == life
                && match question {
                    _ if question.contends_for(key) => true,
                    Question::Slot(_, SlotQuestion::Release { ask, .. }) => ask.key == *key,
                    Question::Session(SessionQuestion::Create { .. }) => true,
                    Question::Session(SessionQuestion::Destroy { ask, .. }) => {
                        self.invariants.session_of(told.owns) == Some(&ask.session)
                    }
                    _ => false,
                }
        });
        if let Some(((_, _, key), told)) = untold {
            let (key, token) = (key.clone(), told.token);
            self.violate(|| {
                format!(
                    "G2: p{process} asked to {question} before it reported its deposition from {key} \
                     {token:?}"
                )
            });
        }
    }

    /// Checks the terms of all keys against the store.
    pub(super) fn check_terms(&mut self) {
        let works = |process: &Process| !(process.tenures.is_empty() && process.taken.is_empty());
        if !self.elections.told.is_empty() || self.processes.iter().any(works) {
            self.keys.clone().iter().for_each(|key| self.check_terms_for(key));
        }
    }

    fn check_terms_for(&mut self, key: &Key) {
        let mut wrong = None;
        for (id, process) in self.processes.iter().enumerate() {
            let name = (id, process.life, key.clone());
            let lasts_in =
                |of: FencingToken| process.terms(key).any(|(token, valid)| valid && token == of);
            if let Some(told) = self.elections.told.get_mut(&name) {
                let lasts = lasts_in(told.token);
                if lasts || self.paused[id] {
                    if lasts && told.over_since.is_some() {
                        wrong = Some(format!("G1: p{id} leads {key} again in an ended term"));
                    }
                } else {
                    let since = *told.over_since.get_or_insert(self.now);
                    if self.now.since(since.max(self.runs_since[id])) > TELL_LIMIT {
                        wrong = Some(format!(
                            "G2: p{id} does not report the end of its term for {key}"
                        ));
                    }
                }
            }
            let rests = self.elections.rests.get(&name);
            if rests.is_some_and(|until| *until > self.now)
                && process.terms(key).any(|(_, valid)| valid)
            {
                wrong = Some(format!("p{id} leads {key} in its cool-down"));
            }
            for (token, _) in process.terms(key).filter(|(_, valid)| *valid) {
                let owns = self.ownership(id, key, token);
                let unheard = self.invariants.session_of(owns).is_some_and(|session| {
                    let lease = (key, session, index_of(token));
                    self.takeovers.may_be_unheard(self.now, self.runs_since[id], lease)
                });
                if let Some(found) = self.invariants.contradiction(key, token, owns)
                    && !unheard
                {
                    let token = index_of(token);
                    wrong = Some(format!("G1: p{id} leads {key} by {token}, and {found}"));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.violate(|| wrong);
        }
    }

    /// Checks, after the faults have ended, that every campaigned key has a leader and
    /// that all followers know it. Then ends all campaigns.
    pub(super) fn look_at_elections(&mut self, bound: Duration, calm_since: Moment) -> bool {
        if !self.plan.elections || self.elections.over_at.is_some() {
            return true;
        }
        let wrong = self.keys.clone().iter().find_map(|key| {
            let holder = self.server.holder(key).map(|(session, _)| session.to_string());
            let mut processes = self.processes.iter();
            if processes.any(|process| process.tenures.contains_key(key)) && holder.is_none() {
                return Some(format!("nobody is elected for {key}"));
            }
            let leads = |process: &&Process| process.terms(key).any(|(_, valid)| valid);
            let name = key.as_str().as_bytes();
            if let Some(leader) = self.processes.iter().find(leads)
                && let Some(pair) = self.server.api.engine.pair(name)
                // So begin the values of callers and of sets.
                && ["c", "s"].iter().any(|kind| {
                    pair.value.starts_with(format!("p{} {kind}", leader.id).as_bytes())
                })
            {
                return Some(format!("p{} leads {key}, which has a caller's value", leader.id));
            }
            let blind = self
                .processes
                .iter()
                .find(|process| process.sees(key).is_some_and(|leader| leader != holder))?;
            let (id, sees) = (blind.id, blind.sees(key).flatten());
            Some(format!("p{id} sees {sees:?} lead {key}, which {holder:?} holds"))
        });
        match wrong {
            Some(wrong) if self.now.since(calm_since) > bound => {
                self.violate(|| format!("no progress: {wrong}"));
            }
            Some(_) => {}
            None => {
                self.elections.over_at = Some(self.now);
                self.trace.note(self.now, 11, || "all campaigns end".into());
                for process in 0..self.processes.len() {
                    self.processes[process].set_time(self.now);
                    self.processes[process].end_campaigns();
                    self.settle(process);
                }
            }
        }
        false
    }
}
