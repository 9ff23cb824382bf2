//! What may happen next in a history.

use std::time::Duration;

use super::{
    super::{caller::Ending, parts::Pending},
    stage::Stage,
};

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The first step in the order of the list.
    Next,
    /// A message arrives.
    Carry(usize),
    /// A part of a process reads its mail, or takes a turn.
    Work(usize, Pending),
    /// A process's timer fires.
    Tick(usize),
    /// A request's time limit is over.
    TimeOut(u64),
    Come {
        process: usize,
        /// The place of what it wants.
        key: usize,
        patient: bool,
    },
    /// A caller that wants all keys at once comes.
    ComeForAll(usize),
    LeaveAll {
        process: usize,
        caller: u64,
    },
    /// A caller writes under its lease.
    Write {
        process: usize,
        caller: u64,
    },
    Leave {
        process: usize,
        caller: u64,
    },
    GiveBack {
        process: usize,
        caller: u64,
        ending: Ending,
    },
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
    /// Cuts a process off and ends its session.
    Sever(usize),
    /// Takes the lock away from its holder.
    Take,
    /// The lock's actor dies now, after so many points of a turn.
    KillLock(usize, u32),
    /// It dies in the turn in which it handles what comes next.
    LightFuse(usize, u32),
    KillSession(usize),
    KillWatch(usize),
    Stop(usize),
    Store(Store),
    Deny(usize, Right),
    Meddle(Meddling),
    /// Somebody deletes the fence entries.
    Sweep,
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
    ReadAndFence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meddling {
    Delete,
    ForceRelease,
    Overwrite,
}

impl Choice {
    /// Whether it happens by itself: the number of choices does not count it.
    pub(super) fn is_free(self, is_prompt: bool) -> bool {
        match self {
            Self::Next | Self::Leap => true,
            Self::Carry(_) | Self::Work(..) | Self::Tick(_) | Self::TimeOut(_) => !is_prompt,
            _ => false,
        }
    }
}

/// The rest of a campaign that resigned for a while.
const COOL_DOWN: Duration = Duration::from_secs(3);

impl Stage {
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
        for (key, wanted) in self.wanted().into_iter().enumerate().filter(|_| !host.is_ending()) {
            let here = host.callers.values().filter(|it| it.key == *wanted).count();
            if usize::from(left.callers) > here {
                all.push(Choice::Come { process, key, patient: true });
                if left.impatient > 0 {
                    all.push(Choice::Come { process, key, patient: false });
                }
            }
        }
        if usize::from(left.sets) > host.troops.len() && !host.is_ending() {
            all.push(Choice::ComeForAll(process));
        }
        if left.leaves > 0 {
            all.extend(host.troops.keys().map(|&caller| Choice::LeaveAll { process, caller }));
        }
        if left.writes > 0 {
            let owners = host.callers.iter().filter(|(_, it)| it.lease.is_some());
            all.extend(owners.map(|(&caller, _)| Choice::Write { process, caller }));
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
            let host = &self.world.processes[process];
            if left.fuses > 0 && host.fuse.is_none() && !host.workers.is_empty() {
                all.extend((0..3).map(|points| Choice::LightFuse(process, points)));
            }
            if left.stops > 0 && !self.world.processes[process].is_ending() {
                all.push(Choice::Stop(process));
            }
            if left.denials > 0 && !self.is_denied(process) {
                let rights = [Right::Read, Right::Write, Right::Fence, Right::ReadAndFence];
                all.extend(rights.map(|right| Choice::Deny(process, right)));
            }
        }
        for process in self.processes() {
            let session = self.world.processes[process].live_session();
            let lives = session.is_some_and(|session| self.world.server.is_alive(session));
            if left.ends > 0 && lives {
                all.push(Choice::EndSession(process));
            }
            if left.severs > 0 && lives && !self.is_cut(process) {
                all.push(Choice::Sever(process));
            }
        }
        let holder = self.world.server.holder(&self.world.keys[0]);
        if left.takes > 0 && holder.is_some_and(|(it, _)| !self.world.takeovers.keeps(&it)) {
            all.push(Choice::Take);
        }
        if left.stores > 0 {
            let kinds = [Store::Emptied, Store::RestoredHigher, Store::RestoredLower];
            all.extend(kinds.map(Choice::Store));
        }
        if left.meddlings > 0 && self.world.server.holder(&self.world.keys[0]).is_some() {
            let kinds = [Meddling::Delete, Meddling::ForceRelease, Meddling::Overwrite];
            all.extend(kinds.map(Choice::Meddle));
        }
        if left.sweeps > 0 {
            all.push(Choice::Sweep);
        }
    }
}
