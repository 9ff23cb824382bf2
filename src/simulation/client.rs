//! A process's client: sends locks in transactions, as few at a time as it may.

use std::collections::{BTreeMap, VecDeque};

use super::{
    parts::Part,
    process::{Out, Process},
    question::{Question, Waiter},
};
use crate::{
    clock::Moment,
    consul::{
        ask::Lock,
        batches::{Batch, Batches},
        fact::{Locked, Trouble},
    },
};

/// The locks of a process in flight and in line.
#[derive(Debug)]
pub(super) struct Client {
    batches: Batches<Waiter>,
    /// Until when each lock in line waits, by its place.
    line: VecDeque<(u64, Moment)>,
    sent: BTreeMap<u64, Batch<Waiter>>,
    made: u64,
}

impl Client {
    pub(super) fn new(turns: usize) -> Self {
        let (line, sent) = (VecDeque::new(), BTreeMap::new());
        Self { batches: Batches::new(turns), line, sent, made: 0 }
    }

    /// The whole state as text, for explorations. The numbers of batches are only names.
    pub(super) fn anatomy(&self) -> String {
        let sent: Vec<_> = self.sent.values().collect();
        format!("{:?} {:?} {sent:?}", self.batches, self.line)
    }

    /// When a lock has waited in line for too long.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        self.line.front().map(|(_, until)| *until)
    }
}

impl Process {
    /// Sends a lock, or puts it in line.
    pub(super) fn lock(&mut self, ask: Lock, waiter: Waiter) {
        if self.client.batches.begin() {
            return self.send(Batch::new(ask, waiter, Vec::new()));
        }
        let place = self.client.batches.stand(ask, waiter);
        self.client.line.push_back((place, self.clock.now() + self.request_timeout()));
    }

    /// Sends the next transaction of a batch, or of the next one.
    fn send(&mut self, mut batch: Batch<Waiter>) {
        loop {
            let locks: Vec<(Lock, Waiter)> = batch.next().cloned().collect();
            let client = &mut self.client;
            if !locks.is_empty() {
                client.made += 1;
                client.sent.insert(client.made, batch);
                let question = Question::Lock { batch: client.made, locks };
                return self.out.push(Out::Ask(question, Part::Client));
            }
            let Some(first) = client.batches.pass_on() else { return };
            let others = client.batches.take_along(&first.ask);
            batch = Batch::new(first.ask, first.tell, others);
        }
    }

    /// Delivers the answers to a transaction.
    pub(super) fn locked(&mut self, batch: u64, answers: Vec<(Waiter, Option<Locked>)>) {
        let Some(mut batch) = self.client.sent.remove(&batch) else {
            // A late answer: each machine rejects it by its ticket.
            for (waiter, answer) in answers {
                if let Some(answer) = answer {
                    waiter.report(answer);
                }
            }
            return;
        };
        for (waiter, answer) in batch.answered(answers.into_iter().map(|(_, a)| a).collect()) {
            waiter.report(answer);
        }
        self.send(batch);
    }

    /// Takes the locks out of the line that have waited for too long.
    pub(super) fn leave_line(&mut self) {
        let limit = self.request_timeout();
        while let Some((place, until)) = self.client.line.front().copied()
            && until <= self.clock.now()
        {
            self.client.line.pop_front();
            if let Some(lock) = self.client.batches.leave(place) {
                lock.tell.report(Locked::Unsent(Trouble::InLine(limit)));
            }
        }
    }
}
