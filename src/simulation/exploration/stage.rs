//! One history, driven by choices.

use std::{rc::Rc, time::Duration};

use super::{
    super::{
        caller::{Conduct, Ending},
        event::Event,
        network::Flight,
        operator::Act,
        parts::Pending,
        server::{Exchange, Lacking},
        world::{START, World},
    },
    canon::FIRST_INDEX,
    choice::Choice,
    scope::{Budget, Scope, Start},
    time::is_planned,
};
use crate::{clock::Moment, key::Key, protocol::series};

/// Longer than any exploration.
pub(super) const ALWAYS: Duration = Duration::from_secs(3_600);
/// The most steps at one moment.
pub(super) const MOST_AT_ONCE: u32 = 2_000;

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) left: Budget,
    pub(super) is_prompt: bool,
    pub(super) is_inward: bool,
}

impl Stage {
    pub(super) fn new(scope: &Scope, readable: bool) -> Self {
        series::begin();
        let mut world = World::new(scope.plan(), readable);
        world.lags.fill(Duration::ZERO);
        world.server.api.engine.write_elsewhere(START, FIRST_INDEX);
        let Scope { budget: left, is_prompt, is_inward, .. } = *scope;
        let mut stage = Self { world, left, is_prompt, is_inward };
        stage.tidy();
        if scope.start != Start::Cold {
            stage.come_to_rest();
        }
        if let Start::Held | Start::Contended | Start::Renewing = scope.start {
            stage.come(0, 0, true);
            stage.come_to_rest();
        }
        if let Start::Contended | Start::Renewing = scope.start {
            stage.come(1, 0, true);
            stage.come_to_rest();
        }
        if scope.start == Start::Leading {
            stage.lead_everything();
        }
        if scope.start == Start::Renewing {
            stage.pass_until_renewal();
        }
        stage.settle_all();
        if scope.budget.stores > 0 {
            stage.world.operate(Act::Save);
        }
        if scope.has_gap {
            let engine = &mut stage.world.server.api.engine;
            engine.write_elsewhere(stage.world.now, FIRST_INDEX / 4);
        }
        stage.world.check();
        stage
    }

    fn lead_everything(&mut self) {
        for process in self.processes() {
            for key in self.world.keys.clone() {
                self.world.processes[process].set_time(self.world.now);
                self.world.campaign(process, &key);
            }
        }
        self.come_to_rest();
    }

    pub(super) fn violation(&self) -> Option<&str> {
        self.world.violation.as_deref()
    }

    /// The last lines of the trace.
    pub(super) fn trace(&self) -> String {
        self.world.trace.tail(usize::MAX)
    }

    pub(super) fn flights(&self) -> &[Flight] {
        self.world.flights.as_deref().unwrap_or_default()
    }

    pub(super) fn processes(&self) -> std::ops::Range<usize> {
        0..self.world.processes.len()
    }

    pub(super) fn runs(&self, process: usize) -> bool {
        !self.world.paused[process] && !self.world.processes[process].is_over
    }

    pub(super) fn is_cut(&self, process: usize) -> bool {
        self.world.links[process].requests_cut > self.world.now
    }

    pub(super) fn is_denied(&self, process: usize) -> bool {
        let lacking = self.world.server.lacking[process];
        lacking.reads > self.world.now
            || lacking.writes > self.world.now
            || lacking.fences > self.world.now
    }

    /// Whether the message can be received now.
    pub(super) fn is_receivable(&self, flight: &Flight) -> bool {
        flight.reply.is_none() || self.runs(flight.exchange.process)
    }

    /// The running processes whose timer is due.
    pub(super) fn is_due(&self, process: usize) -> bool {
        let wakeup = self.world.processes[process].next_wakeup();
        self.runs(process) && wakeup.is_some_and(|at| at <= self.world.now)
    }

    /// The requests whose time limits end, and when.
    pub(super) fn limits(&self) -> impl Iterator<Item = (Moment, &Rc<Exchange>)> {
        self.world.events.iter().filter_map(|((at, _), event)| match event {
            Event::Timeout(exchange) if self.runs(exchange.process) => Some((*at, exchange)),
            _ => None,
        })
    }

    /// Whether nothing happens before time passes.
    pub(super) fn is_at_rest(&self) -> bool {
        self.next().is_none()
    }

    /// Makes it happen.
    pub(super) fn take(&mut self, choice: Choice) {
        self.world.trace.note(self.world.now, 1, || format!("--- {choice:?}"));
        match choice {
            Choice::Next => {
                if let Some(next) = self.next() {
                    self.take_free(next);
                }
            }
            Choice::Tick(_) if self.is_prompt => {
                self.left.delays -= 1;
                self.take_free(choice);
            }
            Choice::Carry(_) | Choice::Work(..) | Choice::Tick(_) | Choice::TimeOut(_) => {
                self.take_free(choice);
            }
            Choice::Come { process, key, patient } => {
                self.left.impatient -= u8::from(!patient);
                self.come(process, key, patient);
            }
            Choice::ComeForAll(process) => {
                let keys = self.world.keys.iter().cloned().collect();
                let conduct = self.conduct(true);
                self.world.processes[process].set_time(self.world.now);
                self.world.join(process, keys, conduct);
            }
            Choice::LeaveAll { process, caller } => {
                self.left.leaves -= 1;
                let now = self.world.now;
                if let Some(troop) = self.world.processes[process].troops.get_mut(&caller) {
                    troop.give_up_at(now);
                }
                self.world.settle(process);
            }
            Choice::Write { process, caller } => {
                self.left.writes -= 1;
                let host = &self.world.processes[process];
                host.set_time(self.world.now);
                let lease = host.callers.get(&caller).and_then(|it| it.lease.as_ref());
                if let Some(state) = lease.map(|lease| lease.state().clone()) {
                    self.world.write(process, &state, false);
                    self.world.settle(process);
                }
            }
            Choice::Leave { process, caller } => {
                self.left.leaves -= 1;
                let now = self.world.now;
                if let Some(it) = self.world.processes[process].callers.get_mut(&caller) {
                    it.conduct.gives_up_at = Some(now);
                }
                self.world.attend(process, caller);
            }
            Choice::GiveBack { process, caller, ending } => {
                self.left.leaves -= 1;
                let now = self.world.now;
                if let Some(it) = self.world.processes[process].callers.get_mut(&caller) {
                    it.conduct.ending = ending;
                    it.holds_until = Some(now);
                }
                self.world.attend(process, caller);
            }
            Choice::Campaign(process) => {
                self.left.stands -= 1;
                let key = self.world.keys[0].clone();
                self.world.campaign(process, &key);
            }
            Choice::Resign(process, cool_down) => {
                self.left.stands -= 1;
                let key = self.world.keys[0].clone();
                self.world.resign(process, &key, cool_down);
            }
            Choice::Continue(process) => {
                self.world.disturbed[process] = self.world.now;
                self.world.resume(process);
            }
            Choice::Mend(process) => {
                let now = self.world.now;
                let link = &mut self.world.links[process];
                (link.requests_cut, link.replies_cut) = (now, now);
                self.world.disturbed[process] = now;
            }
            Choice::Grant(process) => {
                self.world.server.lacking[process] = Lacking::default();
                self.world.disturbed[process] = self.world.now;
            }
            Choice::Leap => {
                self.left.leaps -= 1;
                self.leap();
            }
            Choice::Wait => {
                self.left.waits -= 1;
                if let Some(next) = self.next_moment() {
                    self.pass(next);
                }
            }
            fault => self.strike(fault),
        }
        self.settle_all();
        self.world.check();
    }

    /// The step that comes first in order, if one is due.
    pub(super) fn next(&self) -> Option<Choice> {
        let work = self.processes().find_map(|process| {
            let first = self.world.processes[process].pending().first().copied();
            first.filter(|_| self.runs(process)).map(|step| Choice::Work(process, step))
        });
        let flight = || {
            let flights = self.flights().iter();
            let place = flights.clone().position(|it| !it.is_late && self.is_receivable(it));
            place.map(Choice::Carry)
        };
        let due = || self.processes().find(|it| self.is_due(*it)).map(Choice::Tick);
        let limit = || {
            let due = self.limits().find(|(at, _)| *at <= self.world.now);
            due.map(|(_, exchange)| Choice::TimeOut(exchange.id))
        };
        work.or_else(flight).or_else(due).or_else(limit)
    }

    pub(super) fn take_free(&mut self, choice: Choice) {
        match choice {
            Choice::Carry(place) => self.carry(place),
            Choice::Work(process, step) => self.work(process, step),
            Choice::Tick(process) => self.tick(process),
            Choice::TimeOut(id) => self.time_out(id),
            _ => {}
        }
    }

    pub(super) fn remove(&mut self, place: usize) -> Flight {
        self.world.flights.get_or_insert_default().remove(place)
    }

    pub(super) fn carry(&mut self, place: usize) {
        let Flight { exchange, reply, is_late } = self.remove(place);
        if is_late {
            self.world.disturb(exchange.process, Duration::ZERO);
        }
        self.world.step(match reply {
            None => Event::Arrive(exchange),
            Some(reply) => Event::Answer(exchange, reply),
        });
    }

    pub(super) fn work(&mut self, process: usize, step: Pending) {
        self.world.processes[process].set_time(self.world.now);
        self.world.processes[process].take(step);
        self.world.settle(process);
    }

    pub(super) fn tick(&mut self, process: usize) {
        let life = self.world.processes[process].life;
        self.world.step(Event::Tick { process, life });
    }

    pub(super) fn time_out(&mut self, id: u64) {
        let due = self.limits().find(|(_, exchange)| exchange.id == id);
        if let Some(exchange) = due.map(|(_, exchange)| exchange.clone()) {
            self.world.step(Event::Timeout(exchange));
        }
    }

    pub(super) fn come(&mut self, process: usize, key: usize, patient: bool) {
        let (key, conduct) = (self.wanted()[key].clone(), self.conduct(patient));
        self.world.processes[process].set_time(self.world.now);
        match self.world.permits.as_ref().map(|permits| permits.limit) {
            Some(limit) => self.world.want_permit(process, limit, conduct),
            None => self.world.enter(process, &key, conduct),
        }
    }

    /// What the callers want: the semaphore, if there is one, or else the keys.
    pub(super) fn wanted(&self) -> Vec<&Key> {
        let semaphore = self.world.permits.iter().map(|permits| &permits.key);
        let keys = self.world.keys.iter().filter(|_| self.world.permits.is_none());
        semaphore.chain(keys).collect()
    }

    /// The conduct of a caller that does what is chosen.
    fn conduct(&self, patient: bool) -> Conduct {
        Conduct {
            patient,
            looks_at: self.world.now,
            gives_up_at: None,
            hold: ALWAYS,
            ending: Ending::Release,
            heedful: false,
        }
    }

    /// Lets the processes read what was just said within them, unless that is explored.
    pub(super) fn settle_all(&mut self) {
        for process in self.processes() {
            if self.world.paused[process] {
                continue;
            }
            self.world.processes[process].set_time(self.world.now);
            self.world.settle(process);
            let mut at_once = 0;
            while !self.is_inward
                && let Some(step) = self.world.processes[process].pending().first().copied()
            {
                self.hold_steady(process);
                self.work(process, step);
                at_once += 1;
                if at_once > MOST_AT_ONCE {
                    return self.world.violate(|| format!("p{process} talks to itself for ever"));
                }
            }
            self.hold_steady(process);
        }
        self.tidy();
        if self.go_by_plan() {
            self.settle_all();
        }
    }

    pub(super) fn hold_steady(&mut self, process: usize) {
        let host = &mut self.world.processes[process];
        if let Some(watchers) = &mut host.watchers {
            watchers.hold_steady();
        }
        for slot in host.wards.slots().all() {
            slot.machine().hold_steady();
        }
    }

    /// Drops the events that an exploration decides itself, and what nobody can receive.
    fn tidy(&mut self) {
        let World { events, waiting, flights, processes, .. } = &mut self.world;
        events.retain(|_, event| match event {
            Event::Timeout(exchange) => waiting.contains_key(&exchange.id),
            other => is_planned(other),
        });
        flights
            .get_or_insert_default()
            .retain(|flight| flight.reply.is_none() || !processes[flight.exchange.process].is_over);
    }

    // The end.

    /// Ends all faults, and runs until every caller was served and nothing is left.
    /// Returns what went wrong.
    pub(super) fn heal(self) -> (Option<String>, String) {
        let mut world = self.world;
        let flights = world.flights.take().unwrap_or_default();
        for process in 0..world.processes.len() {
            world.disturbed[process] = world.now;
        }
        for Flight { exchange, reply, .. } in flights {
            let event = match reply {
                None => Event::Arrive(exchange),
                Some(reply) => Event::Answer(exchange, reply),
            };
            world.after(Duration::from_millis(1), event);
        }
        world.wake_readers();
        world.heal();
        let outcome = world.run();
        (outcome.violation, outcome.trace.tail(usize::MAX))
    }
}
