//! One history, driven by choices.

use std::{fmt::Write as _, rc::Rc, sync::Arc, time::Duration};

use super::{
    super::{
        caller::{Conduct, Ending},
        event::Event,
        faults::Act,
        network::Flight,
        parts::Pending,
        question::Question,
        server::{Exchange, Lacking},
        world::{START, World},
    },
    canon::{FIRST_INDEX, Text},
    scope::{Budget, Scope, Start},
};
use crate::{
    clock::Moment,
    embedded::engine::IndexAfterRestore,
    protocol::{Ticket, warden},
};

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// What comes first in order.
    Next,
    /// A message arrives.
    Carry(usize),
    /// A part of a process reads its mail, or takes a turn.
    Work(usize, Pending),
    /// A process's timer fires.
    Tick(usize),
    /// A request's time limit is over.
    TimeOut(u64),
    Come { process: usize, patient: bool },
    Leave { process: usize, caller: u64 },
    GiveBack { process: usize, caller: u64, ending: Ending },
    Campaign(usize),
    Resign(usize, Option<Duration>),
    Continue(usize),
    Mend(usize),
    Grant(usize),
    Lose(usize),
    Delay(usize),
    Repeat(usize),
    Unsend(usize),
    Cut(usize),
    Pause(usize),
    EndSession(usize),
    /// The lock's actor dies in its next turn, after so many points.
    KillLock(usize, u32),
    KillSession(usize),
    KillWatch(usize),
    Stop(usize),
    Store(Store),
    Deny(usize, Right),
    Meddle(Meddling),
    Leap,
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Emptied,
    RestoredHigher,
    RestoredLower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Write,
    Fence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meddling {
    Delete,
    ForceRelease,
    Overwrite,
}

/// Longer than any exploration.
const ALWAYS: Duration = Duration::from_secs(3_600);
/// The longest leap.
const LEAP: Duration = Duration::from_secs(4);
/// The most steps at one moment.
const MOST_AT_ONCE: u32 = 2_000;
/// How long a campaign rests that resigned for a while.
const COOL_DOWN: Duration = Duration::from_secs(3);

pub(super) struct Stage {
    world: World,
    left: Budget,
    is_prompt: bool,
    is_inward: bool,
}

impl Stage {
    pub(super) fn new(scope: &Scope, readable: bool) -> Self {
        let mut world = World::new(scope.plan(), readable);
        world.lags.fill(Duration::ZERO);
        world.server.api.engine.write_elsewhere(START, FIRST_INDEX);
        let Scope { budget: left, is_prompt, is_inward, .. } = *scope;
        let mut stage = Self { world, left, is_prompt, is_inward };
        stage.tidy();
        if scope.start != Start::Cold {
            stage.come_to_rest();
        }
        if let Start::Held | Start::Contended = scope.start {
            stage.come(0, true);
            stage.come_to_rest();
        }
        if scope.start == Start::Contended {
            stage.come(1, true);
            stage.come_to_rest();
        }
        stage.settle_all();
        if scope.budget.stores > 0 {
            stage.world.operate(Act::Save);
        }
        stage.world.check();
        stage
    }

    pub(super) fn violation(&self) -> Option<&str> {
        self.world.violation.as_deref()
    }

    /// The last lines of the trace.
    pub(super) fn trace(&self) -> String {
        self.world.trace.tail(usize::MAX)
    }

    fn flights(&self) -> &[Flight] {
        self.world.flights.as_deref().unwrap_or_default()
    }

    fn processes(&self) -> std::ops::Range<usize> {
        0..self.world.processes.len()
    }

    fn runs(&self, process: usize) -> bool {
        !self.world.paused[process] && !self.world.processes[process].is_over
    }

    fn is_cut(&self, process: usize) -> bool {
        self.world.links[process].requests_cut > self.world.now
    }

    fn is_denied(&self, process: usize) -> bool {
        let lacking = self.world.server.lacking[process];
        lacking.reads > self.world.now
            || lacking.writes > self.world.now
            || lacking.fences > self.world.now
    }

    /// Whether the message can be received now.
    fn is_receivable(&self, flight: &Flight) -> bool {
        flight.reply.is_none() || self.runs(flight.exchange.process)
    }

    /// The running processes whose timer is due.
    fn is_due(&self, process: usize) -> bool {
        let wakeup = self.world.processes[process].next_wakeup();
        self.runs(process) && wakeup.is_some_and(|at| at <= self.world.now)
    }

    /// The requests whose time limits end, and when.
    fn limits(&self) -> impl Iterator<Item = (Moment, &Rc<Exchange>)> {
        self.world.events.iter().filter_map(|((at, _), event)| match event {
            Event::Timeout(exchange) if self.runs(exchange.process) => Some((*at, exchange)),
            _ => None,
        })
    }

    /// Whether nothing happens before time passes.
    pub(super) fn is_at_rest(&self) -> bool {
        self.next().is_none()
    }

    /// Everything that may happen next.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let mut all = Vec::new();
        let next = self.next().filter(|_| self.is_prompt);
        all.extend(next.map(|_| Choice::Next));
        for (place, flight) in self.flights().iter().enumerate() {
            if self.is_receivable(flight) && (flight.is_late || !self.is_prompt) {
                all.push(Choice::Carry(place));
            }
        }
        for process in self.processes().filter(|it| self.runs(*it)) {
            let pending = self.world.processes[process].pending();
            if self.is_inward || !self.is_prompt {
                all.extend(pending.into_iter().map(|step| Choice::Work(process, step)));
            }
            // A timer that overtakes messages.
            let overtakes = self.left.delays > 0 && next != Some(Choice::Tick(process));
            if self.is_due(process) && (overtakes || !self.is_prompt) {
                all.push(Choice::Tick(process));
            }
            self.callers_choices(process, &mut all);
        }
        if !self.is_prompt {
            let due = self.limits().filter(|(at, _)| *at <= self.world.now);
            all.extend(due.map(|(_, exchange)| Choice::TimeOut(exchange.id)));
        }
        for process in self.processes() {
            if self.world.paused[process] {
                all.push(Choice::Continue(process));
            }
            if self.is_cut(process) {
                all.push(Choice::Mend(process));
            }
            if self.is_denied(process) {
                all.push(Choice::Grant(process));
            }
        }
        self.faults(&mut all);
        if self.is_at_rest() && self.next_moment().is_some() {
            if self.left.leaps > 0 {
                all.push(Choice::Leap);
            }
            if self.left.waits > 0 {
                all.push(Choice::Wait);
            }
        }
        all
    }

    fn callers_choices(&self, process: usize, all: &mut Vec<Choice>) {
        let (host, left) = (&self.world.processes[process], self.left);
        let here = host.callers.len();
        if usize::from(left.callers) > here && !host.is_ending() {
            all.push(Choice::Come { process, patient: true });
            if left.impatient > 0 {
                all.push(Choice::Come { process, patient: false });
            }
        }
        for (&caller, it) in host.callers.iter().filter(|_| left.leaves > 0) {
            if it.is_waiting() {
                all.push(Choice::Leave { process, caller });
            } else if it.lease.is_some() {
                for ending in [Ending::Release, Ending::Drop] {
                    all.push(Choice::GiveBack { process, caller, ending });
                }
            }
        }
        if left.stands > 0 && !host.is_ending() {
            match host.tenures.is_empty() {
                true => all.push(Choice::Campaign(process)),
                false => {
                    all.push(Choice::Resign(process, None));
                    all.push(Choice::Resign(process, Some(COOL_DOWN)));
                }
            }
        }
    }

    fn faults(&self, all: &mut Vec<Choice>) {
        let left = self.left;
        for (place, flight) in self.flights().iter().enumerate() {
            let is_request = flight.reply.is_none();
            if left.losses > 0 {
                all.push(Choice::Lose(place));
            }
            if left.delays > 0 && !flight.is_late {
                all.push(Choice::Delay(place));
            }
            if left.repeats > 0 && is_request {
                all.push(Choice::Repeat(place));
            }
            let waits = self.world.waiting.contains_key(&flight.exchange.id);
            if left.unsent > 0 && is_request && waits && !flight.is_late {
                all.push(Choice::Unsend(place));
            }
        }
        for process in self.processes().filter(|it| self.runs(*it)) {
            if left.cuts > 0 && !self.is_cut(process) {
                all.push(Choice::Cut(process));
            }
            if left.pauses > 0 {
                all.push(Choice::Pause(process));
            }
            if left.deaths > 0 {
                let host = &self.world.processes[process];
                if host.fuse.is_none() && !host.workers.is_empty() {
                    all.extend((0..3).map(|points| Choice::KillLock(process, points)));
                }
                all.extend([Choice::KillSession(process), Choice::KillWatch(process)]);
            }
            if left.stops > 0 && !self.world.processes[process].is_ending() {
                all.push(Choice::Stop(process));
            }
            if left.denials > 0 && !self.is_denied(process) {
                let rights = [Right::Read, Right::Write, Right::Fence];
                all.extend(rights.map(|right| Choice::Deny(process, right)));
            }
        }
        for process in self.processes().filter(|_| left.ends > 0) {
            let session = self.world.processes[process].live_session();
            if session.is_some_and(|session| self.world.server.is_alive(session)) {
                all.push(Choice::EndSession(process));
            }
        }
        if left.stores > 0 {
            let kinds = [Store::Emptied, Store::RestoredHigher, Store::RestoredLower];
            all.extend(kinds.map(Choice::Store));
        }
        if left.meddlings > 0 && self.world.server.holder(&self.world.keys[0]).is_some() {
            let kinds = [Meddling::Delete, Meddling::ForceRelease, Meddling::Overwrite];
            all.extend(kinds.map(Choice::Meddle));
        }
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
            Choice::Come { process, patient } => {
                self.left.impatient -= u8::from(!patient);
                self.come(process, patient);
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
    fn next(&self) -> Option<Choice> {
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

    fn take_free(&mut self, choice: Choice) {
        match choice {
            Choice::Carry(place) => self.carry(place),
            Choice::Work(process, step) => self.work(process, step),
            Choice::Tick(process) => self.tick(process),
            Choice::TimeOut(id) => self.time_out(id),
            _ => {}
        }
    }

    fn strike(&mut self, fault: Choice) {
        let (now, left) = (self.world.now, &mut self.left);
        let key = self.world.keys[0].clone();
        match fault {
            Choice::Lose(place) => {
                left.losses -= 1;
                let flight = self.remove(place);
                self.world.lose(&flight.exchange, "lost by choice");
            }
            Choice::Delay(place) => {
                left.delays -= 1;
                let flights = self.world.flights.as_mut();
                if let Some(flight) = flights.and_then(|flights| flights.get_mut(place)) {
                    flight.is_late = true;
                }
            }
            Choice::Repeat(place) => {
                left.repeats -= 1;
                let exchange = self.flights()[place].exchange.clone();
                let copy = Flight { exchange, reply: None, is_late: true };
                self.world.flights.get_or_insert_default().push(copy);
            }
            Choice::Unsend(place) => {
                left.unsent -= 1;
                let flight = self.remove(place);
                self.world.disturb(flight.exchange.process, Duration::ZERO);
                self.world.step(Event::Unsent(flight.exchange));
            }
            Choice::Cut(process) => {
                left.cuts -= 1;
                let link = &mut self.world.links[process];
                (link.requests_cut, link.replies_cut) = (now + ALWAYS, now + ALWAYS);
                self.world.disturb(process, ALWAYS);
                let is_lost = |flight: &mut Flight| {
                    flight.exchange.process == process && !flight.is_late
                };
                let lost: Vec<_> =
                    self.world.flights.get_or_insert_default().extract_if(.., is_lost).collect();
                drop(lost);
            }
            Choice::Pause(process) => {
                left.pauses -= 1;
                self.world.paused[process] = true;
                self.world.disturb(process, ALWAYS);
            }
            Choice::EndSession(process) => {
                left.ends -= 1;
                let session = self.world.processes[process].live_session().cloned();
                if let Some(session) = session {
                    // An unknown session is as good as destroyed.
                    let engine = &mut self.world.server.api.engine;
                    let _ = engine.destroy_session(now, session.as_str());
                }
                self.world.disturb(process, Duration::ZERO);
                self.world.wake_readers();
            }
            Choice::KillLock(process, points) => {
                left.deaths -= 1;
                self.world.disturb(process, Duration::ZERO);
                let host = &mut self.world.processes[process];
                host.fuse = Some((key.clone(), points));
                if let Some(slot) = host.wards.slots().get(&key) {
                    slot.callers.poke();
                }
            }
            Choice::KillSession(process) => {
                left.deaths -= 1;
                self.world.disturb(process, Duration::ZERO);
                self.world.processes[process].kill_session();
            }
            Choice::KillWatch(process) => {
                left.deaths -= 1;
                self.world.disturb(process, Duration::ZERO);
                self.world.processes[process].kill_watch();
            }
            Choice::Stop(process) => {
                left.stops -= 1;
                self.world.disturb(process, Duration::ZERO);
                let limit = Duration::from_secs(30);
                self.world.processes[process].feed_warden(warden::Event::Stop { limit });
            }
            Choice::Store(kind) => {
                left.stores -= 1;
                let act = match kind {
                    Store::Emptied => Act::RestartEmpty,
                    Store::RestoredHigher => Act::Restore(IndexAfterRestore::Rises),
                    Store::RestoredLower => Act::Restore(IndexAfterRestore::Rewinds),
                };
                self.world.operate(act);
                if kind == Store::Emptied {
                    self.world.server.api.engine.write_elsewhere(now, FIRST_INDEX - 20);
                }
                // Readers whose connection broke.
                let is_break = |_: &_, event: &mut Event| matches!(event, Event::Break(..));
                let broken: Vec<_> = self.world.events.extract_if(.., is_break).collect();
                broken.into_iter().for_each(|(_, event)| self.world.step(event));
            }
            Choice::Deny(process, right) => {
                left.denials -= 1;
                let lacking = &mut self.world.server.lacking[process];
                match right {
                    Right::Read => lacking.reads = now + ALWAYS,
                    Right::Write => lacking.writes = now + ALWAYS,
                    Right::Fence => lacking.fences = now + ALWAYS,
                }
                self.world.disturb(process, ALWAYS);
            }
            Choice::Meddle(kind) => {
                left.meddlings -= 1;
                self.world.operate(match kind {
                    Meddling::Delete => Act::DeleteKey(key),
                    Meddling::ForceRelease => Act::ForceRelease(key),
                    Meddling::Overwrite => Act::Overwrite(key),
                });
            }
            _ => {}
        }
    }

    fn remove(&mut self, place: usize) -> Flight {
        self.world.flights.get_or_insert_default().remove(place)
    }

    fn carry(&mut self, place: usize) {
        let Flight { exchange, reply, is_late } = self.remove(place);
        if is_late {
            self.world.disturb(exchange.process, Duration::ZERO);
        }
        self.world.step(match reply {
            None => Event::Arrive(exchange),
            Some(reply) => Event::Answer(exchange, reply),
        });
    }

    fn work(&mut self, process: usize, step: Pending) {
        self.world.processes[process].set_time(self.world.now);
        self.world.processes[process].take(step);
        self.world.settle(process);
    }

    fn tick(&mut self, process: usize) {
        let life = self.world.processes[process].life;
        self.world.step(Event::Tick { process, life });
    }

    fn time_out(&mut self, id: u64) {
        let due = self.limits().find(|(_, exchange)| exchange.id == id);
        if let Some(exchange) = due.map(|(_, exchange)| exchange.clone()) {
            self.world.step(Event::Timeout(exchange));
        }
    }

    fn come(&mut self, process: usize, patient: bool) {
        let conduct = Conduct {
            patient,
            looks_at: self.world.now,
            gives_up_at: None,
            hold: ALWAYS,
            ending: Ending::Release,
            heedful: false,
        };
        let key = self.world.keys[0].clone();
        self.world.processes[process].set_time(self.world.now);
        self.world.enter(process, &key, conduct);
    }

    /// Lets the processes read what was just said within them, unless that is explored.
    fn settle_all(&mut self) {
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
    }

    fn hold_steady(&mut self, process: usize) {
        for slot in self.world.processes[process].wards.slots().all() {
            slot.machine().hold_steady();
        }
    }

    /// Drops the events that an exploration decides itself, and what nobody can receive.
    fn tidy(&mut self) {
        let World { events, waiting, flights, processes, .. } = &mut self.world;
        events.retain(|_, event| match event {
            Event::Timeout(exchange) => waiting.contains_key(&exchange.id),
            _ => false,
        });
        flights.get_or_insert_default().retain(|flight| {
            flight.reply.is_none() || !processes[flight.exchange.process].is_over
        });
    }

    // Time.

    /// The next moment at which anything happens.
    fn next_moment(&self) -> Option<Moment> {
        let processes = self.processes().filter(|it| self.runs(*it));
        let wakeups = processes.filter_map(|it| self.world.processes[it].next_wakeup());
        let limits = self.limits().map(|(at, _)| at);
        let next = wakeups.chain(limits).chain(self.world.server.next_wakeup()).min();
        next.map(|at| at.max(self.world.now))
    }

    /// The next moment that matters: a deadline, or the end of a session or a lock-delay.
    fn next_landmark(&self) -> Option<Moment> {
        let now = self.world.now;
        let deadlines = self.world.processes.iter().filter_map(|host| {
            host.set_time(now);
            let (cell, local) = (host.wards.view()?.cell.clone(), host.clock.now());
            // A check of a passed deadline would change the cell.
            let deadline = cell.would_be_valid(local).then(|| cell.deadline(local)).flatten()?;
            Some(host.world_time(deadline))
        });
        let engine = &self.world.server.api.engine;
        let ends = engine.next_wakeup().into_iter().chain(engine.next_delay_end());
        deadlines.chain(ends).filter(|at| *at > now).min()
    }

    fn pass(&mut self, at: Moment) {
        self.world.now = at;
        self.world.processes.iter().for_each(|process| process.set_time(at));
        self.world.wake_readers();
        self.world.check();
    }

    /// Lets routine time pass: up to a landmark, or to anything that is not routine.
    fn leap(&mut self) {
        let end = self.world.now + LEAP;
        let before = self.what_counts();
        while let Some(next) = self.next_moment() {
            let target = self.next_landmark().map_or(end, |landmark| landmark.min(end));
            if next >= target {
                return self.pass(target);
            }
            self.pass(next);
            if !self.rest(|stage| stage.is_remarkable() || stage.what_counts() != before) {
                return;
            }
        }
    }

    /// Takes every step that is due, in the order of the list, until `stops` or nothing is
    /// left. Returns whether nothing is left.
    fn rest(&mut self, stops: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..MOST_AT_ONCE {
            self.settle_all();
            if stops(self) || self.violation().is_some() {
                return false;
            }
            let Some(next) = self.next() else { return true };
            self.take_free(next);
            self.world.check();
        }
        self.world.violate(|| "time stands still".into());
        false
    }

    fn come_to_rest(&mut self) {
        self.rest(|_| false);
    }

    /// Whether a message is under way that is not routine.
    fn is_remarkable(&self) -> bool {
        self.flights().iter().any(|flight| {
            let is_routine = matches!(
                flight.exchange.question,
                Question::Renew { .. }
                    | Question::Watch { .. }
                    | Question::Prefix { .. }
                    | Question::AskSession { .. }
                    | Question::List { .. }
                    | Question::ListFences { .. }
                    | Question::DeleteFences { .. }
            );
            !is_routine && !flight.is_late
        })
    }

    /// Changes when a lease begins or ends.
    fn what_counts(&self) -> (u64, u64, u64) {
        let stats = &self.world.stats;
        (stats.grants, stats.losses, stats.elections)
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

    // The state.

    /// The hash of the state's canonical form.
    pub(super) fn hash(&self) -> u128 {
        self.text().hash()
    }

    fn text(&self) -> Text {
        let (world, mut text) = (&self.world, Text::default());
        for (id, host) in world.processes.iter().enumerate() {
            host.set_time(world.now);
            let (now, first) = (host.clock.now(), 3 * id as u8);
            let mut lock = String::new();
            let mut slots = host.wards.slots().all();
            slots.sort_by(|one, other| one.key.cmp(&other.key));
            for slot in &slots {
                let _ = write!(lock, "{};", slot.anatomy());
            }
            for worker in host.workers.values() {
                let is_gone = !slots.iter().any(|slot| Arc::ptr_eq(slot, &worker.slot));
                if is_gone {
                    let _ = write!(lock, "gone {};", worker.slot.anatomy());
                }
            }
            let pokes = host.pending();
            let callers: Vec<_> = host
                .callers
                .values()
                .map(|it| {
                    let waits = it.is_waiting();
                    let (lease, until) = (&it.lease, it.untold_since);
                    format!("{waits} {lease:?} {} {} {until:?}", it.owns, it.was_invalid)
                })
                .collect();
            let terms: Vec<_> = host.taken.values().map(|t| (t.token(), t.would_be_valid())).collect();
            let tenures: Vec<_> = host.tenures.values().map(|t| t.would_lead()).collect();
            let _ = write!(
                lock,
                "{:?} {pokes:?} {callers:?} {terms:?} {tenures:?} {:?} {:?} {:?}",
                host.wards.warden(),
                host.workers,
                host.mail,
                host.fuse
            );
            text.add(first + 1, now, lock);
            let session = format!(
                "{:?} {} {} {:?} {} {}",
                host.session,
                host.session_number,
                host.watch_number,
                host.sessions,
                host.is_over,
                world.paused[id]
            );
            text.add(first, now, session);
            text.add(first + 2, now, format!("{:?}", host.watchers.as_ref().map(|it| it.machine())));
            let (cut, denied) = (self.is_cut(id), world.server.lacking[id]);
            let times = (world.disturbed[id], world.runs_since[id]);
            text.add(first, world.now, format!("{cut} {denied:?} {times:?}"));
        }
        self.messages(&mut text);
        let engine = without_generators(&format!("{:?}", world.server.api.engine));
        text.add(255, world.now, engine);
        let server = &world.server;
        text.add(
            255,
            world.now,
            format!(
                "{:?} {:?} {:?} {:?} {:?} {} {:?}",
                server.locks,
                server.has_denied,
                server.snapshot,
                world.invariants,
                world.elections,
                world.restored,
                self.left
            ),
        );
        text
    }

    /// Adds the messages under way, the time limits and the waiting readers.
    fn messages(&self, text: &mut Text) {
        let world = &self.world;
        let mut lines: Vec<(u8, String)> = Vec::new();
        let group = |exchange: &Exchange| 3 * exchange.process as u8 + kind(&exchange.question);
        for flight in self.flights() {
            let waits = world.waiting.contains_key(&flight.exchange.id);
            let line = format!("{waits} {} {:?}", describe(&flight.exchange), flight.reply);
            lines.push((group(&flight.exchange), format!("{line} {}", flight.is_late)));
        }
        for ((at, _), event) in &world.events {
            if let Event::Timeout(exchange) = event {
                lines.push((group(exchange), format!("{at:?} {}", describe(exchange))));
            }
        }
        for (parked, exchange) in world.server.parked.values() {
            lines.push((group(exchange), format!("{parked:?} {}", describe(exchange))));
        }
        lines.sort();
        for (group, line) in lines {
            text.add(group, world.now, line);
        }
    }
}

/// The machine that a question belongs to.
fn kind(question: &Question) -> u8 {
    match question {
        Question::Lock { .. }
        | Question::Release { .. }
        | Question::Read { .. }
        | Question::AskSession { .. } => 1,
        Question::Watch { .. } | Question::Prefix { .. } => 2,
        _ => 0,
    }
}

fn describe(exchange: &Exchange) -> String {
    let ticket = match &exchange.question {
        Question::Create { ticket, .. }
        | Question::Renew { ticket, .. }
        | Question::Destroy { ticket, .. }
        | Question::DeleteFence { ticket, .. }
        | Question::Raise { ticket, .. }
        | Question::ReadFence { ticket, .. }
        | Question::List { ticket, .. }
        | Question::ListFences { ticket }
        | Question::Lock { ticket, .. }
        | Question::Release { ticket, .. }
        | Question::Read { ticket, .. }
        | Question::AskSession { ticket, .. }
        | Question::Watch { read: ticket, .. }
        | Question::Prefix { read: ticket, .. } => *ticket,
        Question::DeleteFences { .. } => Ticket(0),
    };
    let body = String::from_utf8_lossy(&exchange.request.body);
    let (part, void, target) = (exchange.part, exchange.void.get(), &exchange.request.target);
    format!("{ticket:?} {part:?} {void} {target} {body}")
}

/// Removes the generator of ids and the counter of changes: neither decides anything.
fn without_generators(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    for name in ["random: ", "version: "] {
        if let Some((before, after)) = rest.split_once(name) {
            kept.push_str(before);
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    kept + rest
}
