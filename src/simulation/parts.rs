//! The parts of a process and their messages.
//!
//! Each part stands for an actor: it drives the same machine and has its own
//! mailbox. Messages between two parts arrive in order, interleaved at random with
//! everything else.

mod locks;
mod sessions;

use std::collections::VecDeque;

use futures::FutureExt as _;

pub(super) use self::locks::Worker;
use self::locks::is_poked;
use super::{
    process::{Out, Process},
    question::Question,
    random::Random,
};
use crate::{
    clock::Moment,
    holding::{
        tenure::Tenure,
        turn::Cause,
        watchers::{Read, Watch, Watchers, What},
    },
    key::Key,
    mutation::Mutation,
    protocol::{
        contest::News,
        session::{self, Session},
        warden::{self, End, ForActors},
        watch,
    },
};

/// A part of a process. The number distinguishes a part from its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Warden,
    Session(u64),
    Watch(u64),
    Lock(u64),
    Client,
}

/// A message between parts.
#[derive(Debug)]
pub(super) enum Mail {
    Warden(warden::Event),
    Session(session::Event),
    Watch(Watch),
    Retire,
}

/// A step that a part could take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    Mail(Part, Part),
    Turn(u64),
}

impl Process {
    // Mailboxes.

    fn post(&mut self, from: Part, to: Part, mail: Mail) {
        self.mail.entry((from, to)).or_default().push_back(mail);
    }

    /// Whether any part has input to read.
    pub(super) fn is_poked(&self) -> bool {
        !self.mail.is_empty() || self.workers.values().any(|worker| is_poked(&worker.slot))
    }

    /// The steps that its parts could take now.
    pub(super) fn pending(&self) -> Vec<Pending> {
        if self.is_over {
            return Vec::new();
        }
        let mut pending: Vec<Pending> =
            self.mail.keys().map(|(from, to)| Pending::Mail(*from, *to)).collect();
        let poked = self.workers.iter().filter(|(_, worker)| is_poked(&worker.slot));
        pending.extend(poked.map(|(number, _)| Pending::Turn(*number)));
        pending
    }

    /// Takes up to `most` pending steps in random order.
    pub(super) fn work(&mut self, most: u64, random: &mut Random) {
        for _ in 0..most {
            let mut pending = self.pending();
            if pending.is_empty() {
                return;
            }
            self.take(pending.swap_remove(random.below(pending.len())));
        }
    }

    /// Takes a pending step.
    pub(super) fn take(&mut self, step: Pending) {
        match step {
            Pending::Mail(from, to) => self.deliver(from, to),
            Pending::Turn(number) => {
                if let Some(worker) = self.workers.get(&number) {
                    // Consume the poke: the turn reads everything.
                    let _ = worker.slot.callers.poked().now_or_never();
                }
                self.turn(number, Cause::Poke);
            }
        }
    }

    fn deliver(&mut self, from: Part, to: Part) {
        let Some(line) = self.mail.get_mut(&(from, to)) else { return };
        let mail = line.pop_front();
        if line.is_empty() {
            self.mail.remove(&(from, to));
        }
        match (to, mail) {
            (Part::Warden, Some(Mail::Warden(event))) => self.feed_warden(event),
            // The supervisor forwards it to the current watch.
            (Part::Warden, Some(Mail::Watch(watch))) => {
                self.post(Part::Warden, Part::Watch(self.watch_number), Mail::Watch(watch));
            }
            (Part::Session(number), Some(Mail::Session(event))) => {
                self.feed_session(number, event);
            }
            (Part::Watch(number), Some(Mail::Watch(watch))) => {
                self.watch(number, |watchers, now| watchers.watch(now, watch));
            }
            (Part::Lock(number), Some(Mail::Retire)) => {
                self.workers.remove(&number);
            }
            _ => {}
        }
    }

    // The supervisor.

    pub(super) fn feed_warden(&mut self, event: warden::Event) {
        let mut told = Vec::new();
        let now = self.clock.now();
        let orders = self.wards.handle(now, event, |key, news| told.push((key.clone(), news)));
        for (key, news) in told {
            self.publish(&key, news);
        }
        for order in orders {
            self.carry_out(order);
        }
    }

    fn carry_out(&mut self, order: ForActors) {
        match order {
            ForActors::StartWatch => {
                self.watch_number += 1;
                let seed = self.clock.now().as_nanos();
                self.watchers = Some(Watchers::new(self.watches, seed));
            }
            ForActors::StartSession { generation, left_behind } => {
                self.start_session(generation, left_behind);
            }
            ForActors::StartLock { key, worker, recovering } => {
                if let Some(slot) = self.wards.slots().get(&key) {
                    self.locks.insert(key, worker);
                    self.workers.insert(worker, Worker { slot, wakes_at: None });
                    self.turn(worker, if recovering { Cause::Recovery } else { Cause::Poke });
                }
            }
            ForActors::Retire { key } => {
                if let Some(worker) = self.locks.remove(&key) {
                    self.post(Part::Warden, Part::Lock(worker), Mail::Retire);
                }
            }
            ForActors::TellSession(told) => {
                let session = Part::Session(self.session_number);
                self.post(Part::Warden, session, Mail::Session(told.into()));
            }
            ForActors::Show(_) => {}
            ForActors::Finish(end) => self.finish(end),
        }
    }

    fn finish(&mut self, end: End) {
        self.out.push(Out::Finished(end));
        self.abandon();
    }

    /// Drops the supervisor and everything that it owns.
    pub(super) fn abandon(&mut self) {
        let mut told = Vec::new();
        self.wards.abandon(|key, news| told.push((key.clone(), news)));
        for (key, news) in told {
            self.publish(&key, news);
        }
        self.is_over = true;
        self.mail.clear();
        self.workers.clear();
    }

    fn publish(&mut self, key: &Key, news: News) {
        let key = key.clone();
        self.out.push(match news {
            News::Acquired { token } => Out::Acquired { key, token },
            News::Released { .. } if Mutation::EndUnpublished.is_chosen() => return,
            News::Lost { token, reason } => {
                let still_valid = self
                    .callers
                    .values()
                    .filter(|caller| caller.key == key)
                    .filter_map(|caller| caller.lease.as_ref())
                    .any(|lease| lease.token() == token && lease.would_be_valid());
                Out::Lost { key, token, reason, still_valid }
            }
            News::Released { token } => Out::Freed { key, token },
            News::Elected { token } => {
                if let Some(term) = self.tenures.get(&key).and_then(Tenure::term) {
                    self.taken.insert(key.clone(), term);
                }
                Out::Elected { key, token }
            }
            News::Deposed { token, reason } => {
                let still_valid = self.terms(&key).any(|(of, valid)| valid && of == token);
                Out::Deposed { key, token, reason, still_valid }
            }
            News::LeaderChanged { leader } => {
                Out::LeaderChanged { key, leader: leader.map(|leader| leader.session) }
            }
            News::StoodBack { .. } => return,
        });
    }

    // The watch.

    pub(super) fn watch(
        &mut self,
        number: u64,
        step: impl FnOnce(&mut Watchers, Moment) -> Vec<Read>,
    ) {
        let now = self.clock.now();
        let Some(watchers) = self.watchers.as_mut().filter(|_| number == self.watch_number) else {
            return;
        };
        for Read { read, what } in step(watchers, now) {
            let question = match what {
                What::Key(ask) => Question::Watch { read, ask },
                What::Prefix(ask) => Question::Prefix { read, ask },
                What::Probe => {
                    self.out.push(Out::Probe(read, Part::Watch(number)));
                    continue;
                }
            };
            self.out.push(Out::Ask(question, Part::Watch(number)));
        }
    }

    /// Tells the watch that the agent refused a connection to another part.
    pub(super) fn refused(&mut self) {
        self.watch(self.watch_number, |watchers, now| watchers.handle(now, watch::Event::Refused));
    }

    /// Kills the watch actor.
    pub(super) fn kill_watch(&mut self) {
        if self.watchers.take().is_some() {
            let from = Part::Watch(self.watch_number);
            self.post(from, Part::Warden, Mail::Warden(warden::Event::WatchDied));
        }
    }

    // Timers.

    /// When a part's next timer is due, in world time.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        if self.is_over {
            return None;
        }
        let session = self.session.as_ref().and_then(Session::next_wakeup);
        let watch = self.watchers.as_ref().and_then(Watchers::next_wakeup);
        let others = [session, watch, self.wards.next_wakeup(), self.client.next_wakeup()];
        let locks = self.workers.values().filter_map(|worker| worker.wakes_at);
        let next = locks.chain(others.into_iter().flatten()).min()?;
        Some(self.world_time(next))
    }

    /// Fires the due timers.
    pub(super) fn tick(&mut self) {
        let now = self.clock.now();
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if is_due(self.session.as_ref().and_then(Session::next_wakeup)) {
            self.feed_session(self.session_number, session::Event::Tick);
        }
        let due = self.workers.iter().filter(|(_, worker)| is_due(worker.wakes_at));
        for number in due.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.turn(number, Cause::Timer);
        }
        if is_due(self.watchers.as_ref().and_then(Watchers::next_wakeup)) {
            let tick = |watchers: &mut Watchers, now| watchers.handle(now, watch::Event::Tick);
            self.watch(self.watch_number, tick);
        }
        self.leave_line();
        if is_due(self.wards.next_wakeup()) {
            self.feed_warden(warden::Event::Tick);
        }
    }
}

/// The messages in flight, by sender and receiver.
pub(super) type Mailboxes = std::collections::BTreeMap<(Part, Part), VecDeque<Mail>>;
