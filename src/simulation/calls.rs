//! The actions of a process's callers, and their checks.

use std::{sync::Arc, time::Duration};

use super::{
    caller::{Caller, Conduct, Ending, Found},
    event::Event,
    world::World,
};
use crate::{error::Error, key::Key, protocol::queue::Patience};

impl World {
    /// A new caller requests a key.
    pub(super) fn call(&mut self, process: usize, life: u64) {
        if self.is_healed() {
            return;
        }
        let r = &mut self.random;
        let pause = r.skewed_millis(1..=2 * self.plan.call_every);
        let key = self.keys[r.below(self.keys.len())].clone();
        let looks_at = if r.chance(50) { r.skewed_millis(1..=5_000) } else { Duration::ZERO };
        let gives_up = r.chance(600).then(|| r.skewed_millis(1..=self.plan.longest_wait));
        let conduct = Conduct {
            patient: r.chance(750),
            looks_at: self.now + looks_at,
            gives_up_at: gives_up.map(|pause| self.now + pause),
            hold: r.skewed_millis(0..=self.plan.longest_hold),
            ending: r.pick(&[Ending::Release, Ending::Drop]),
            heedful: r.chance(500),
        };
        if !self.processes[process].is_ending() {
            self.enter(process, &key, conduct);
        }
        self.after(pause, Event::Call { process, life });
    }

    pub(super) fn enter(&mut self, process: usize, key: &Key, conduct: Conduct) {
        self.calls += 1;
        let id = self.calls;
        let (host, now) = (&mut self.processes[process], self.now);
        let life = host.life;
        if host.callers.len() >= 20 && self.healed_at.is_none() {
            return;
        }
        let patience = if conduct.patient { Patience::Unlimited } else { Patience::None };
        let value: Arc<[u8]> = Arc::from(format!("p{process} c{}", id % 3).into_bytes());
        self.trace.note(now, id, || {
            let (patient, hold) = (conduct.patient, conduct.hold);
            format!("p{process}      caller {id} wants {key}, patient: {patient}, for {hold:?}")
        });
        let Some(entered) = host.enter(key, patience, value) else {
            return self.violate(|| "a caller was turned away".into());
        };
        host.callers.insert(id, Caller::new(entered, conduct, now));
        for at in [Some(conduct.looks_at), conduct.gives_up_at].into_iter().flatten() {
            self.after(at.since(now), Event::Caller { process, life, caller: id });
        }
        self.settle(process);
    }

    /// Takes a caller's next step.
    pub(super) fn attend(&mut self, process: usize, id: u64) {
        let (host, now) = (&mut self.processes[process], self.now);
        let life = host.life;
        if let Some(caller) = host.callers.get_mut(&id) {
            if caller.is_waiting() && caller.conduct.gives_up_at.is_some_and(|at| at <= now) {
                self.trace.note(now, id, || format!("p{process}      caller {id} gives up"));
                caller.leave();
                host.callers.remove(&id);
            } else if let Some(lease) = &caller.lease {
                // It uses the protected resource now if its lease is valid.
                let valid = lease.is_valid();
                let over = caller.holds_until.is_some_and(|at| at <= now);
                if over || (!valid && caller.conduct.heedful) {
                    let (key, owns) = (caller.key.clone(), caller.owns);
                    let given = caller.give_back();
                    if caller.is_done() {
                        host.callers.remove(&id);
                    }
                    if let Some((token, ends_it)) = given {
                        self.trace.note(now, id, || {
                            format!("p{process}      caller {id} releases {key}")
                        });
                        if ends_it {
                            self.note_returned(owns, token);
                        }
                    }
                } else {
                    let state = lease.state().clone();
                    let left = caller.holds_until.map_or(Duration::ZERO, |at| at.since(now));
                    let pause = left.min(self.random.millis(1..=3_000));
                    self.after(pause, Event::Caller { process, life, caller: id });
                    self.maybe_write(process, &state);
                }
            }
        }
        self.settle(process);
    }

    /// Polls all callers. Returns whether any got an answer.
    pub(super) fn look(&mut self, process: usize) -> bool {
        let now = self.now;
        let host = &mut self.processes[process];
        let life = host.life;
        let found = host.callers.iter_mut().filter_map(|(id, caller)| match caller.look(now) {
            Found::Nothing => None,
            found => Some((*id, caller.key.clone(), caller.is_done(), found)),
        });
        let found: Vec<_> = found.collect();
        let any = !found.is_empty();
        for (id, key, done, found) in found {
            if done {
                self.processes[process].callers.remove(&id);
            }
            match found {
                Found::Nothing => {}
                Found::Granted(lease) => {
                    let token = lease.token();
                    self.trace.note(now, id, || {
                        format!("p{process}      caller {id} has {key} {token:?}")
                    });
                    let owns = self.check_lease(process, &lease);
                    if let Some(caller) = self.processes[process].callers.get_mut(&id) {
                        caller.owns = owns;
                    }
                    self.after(Duration::ZERO, Event::Caller { process, life, caller: id });
                }
                Found::Refused(error) => {
                    self.trace.note(now, id, || {
                        format!("p{process}      caller {id} is refused: {error}")
                    });
                    *self.stats.refusals.entry(kind_of(&error)).or_default() += 1;
                    let denied = matches!(error, Error::Denied { .. });
                    if denied && !self.server.has_denied[process] {
                        self.violate(|| {
                            format!("p{process} was refused {key} for a right that nobody denied")
                        });
                    }
                }
                Found::Deserted => {
                    self.violate(|| format!("p{process}'s caller {id} will never be answered"));
                }
                Found::Confirmed(released) => {
                    self.trace
                        .note(now, id, || format!("p{process}      caller {id}: {released:?}"));
                }
            }
        }
        any
    }
}

pub(super) fn kind_of(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
