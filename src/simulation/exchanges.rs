//! One request: asked, served, and answered.

use std::{cell::Cell, rc::Rc, time::Duration};

use super::{
    event::Event,
    parts::Part,
    question::{Fact, Question},
    reached,
    server::{Exchange, Served},
    world::World,
};
use crate::{
    consul::{ask::Lock, fact::Trouble, wire::WireReply},
    holding::keeping::SessionQuestion,
    protocol::{Ticket, permit, watch},
};

/// How long a copy waits again for the answer to the request.
const POSTPONED: Duration = Duration::from_millis(50);

/// The most requests of a process per second.
const STORM: u64 = 400;

impl World {
    /// Sends a request.
    pub(super) fn ask(&mut self, process: usize, part: Part, question: Question) {
        self.exchanges += 1;
        self.stats.requests += 1;
        self.stats.reach(reached::question(&question));
        self.count_request(process);
        let (id, host) = (self.exchanges, &self.processes[process]);
        let (request, limit) = question.prepare(host.request_timeout());
        let limit = host.world_span(limit);
        let renews = match &question {
            Question::Session(SessionQuestion::Renew { ask, .. }) => Some(&ask.session),
            _ => None,
        };
        // A known limit: a restored snapshot can bring back a session that has ended.
        let is_late = |ask: &Lock| host.live_session() != Some(&ask.session);
        let is_void = self.restored && question.locks().any(is_late);
        let robbed = renews.and_then(|session| self.takeovers.robbed(session));
        let exchange = Rc::new(Exchange {
            id,
            process,
            life: host.life,
            part,
            question,
            request,
            robbed,
            void: Cell::new(is_void),
            settles: Cell::new(false),
        });
        self.trace.note(self.now, 16 + id, || {
            format!("p{process}      #{id} asks to {}", exchange.question)
        });
        self.record_sent(&exchange);
        self.waiting.insert(id, exchange.clone());
        self.after(limit, Event::Timeout(exchange.clone()));
        self.transmit(exchange);
    }

    fn count_request(&mut self, process: usize) {
        let second = self.now.as_nanos() / 1_000_000_000;
        let rate = &mut self.rates[process];
        *rate = if rate.0 == second { (second, rate.1 + 1) } else { (second, 1) };
        let count = rate.1;
        self.stats.busiest_second = self.stats.busiest_second.max(count);
        if count > STORM {
            self.violate(|| format!("p{process} sent {count} requests in one second"));
        }
    }

    /// Serves a request.
    pub(super) fn arrive(&mut self, exchange: &Rc<Exchange>) {
        // Known limits; see `Question::outlives` and `World::is_misled`.
        if exchange.void.get() || self.is_misled(&exchange.question) {
            return self.stats.fault("late lock withheld");
        }
        let is_awaited = self.waiting.contains_key(&exchange.id)
            && self.processes[exchange.process].life == exchange.life;
        if exchange.settles.get() && is_awaited {
            self.last_arrival = self.last_arrival.max(self.now + POSTPONED);
            return self.after(POSTPONED, Event::Arrive(exchange.clone()));
        }
        self.record_ends();
        let past = self.past_of(exchange);
        let served = match past {
            Some(reply) => Served::Reply(reply),
            None => self.server.serve(self.now, exchange),
        };
        let (process, id) = (exchange.process, exchange.id);
        match served {
            Served::Reply(reply) => {
                if reply.status == 200 {
                    self.check_applied(&exchange.question);
                }
                self.record_served(exchange, &reply);
                let body = || String::from_utf8_lossy(&reply.body).chars().take(160).collect();
                self.trace.note(self.now, 16 + id, || {
                    let body: String = body();
                    format!(
                        "consul  #{id} p{process} '{}': {} {body}",
                        exchange.question, reply.status
                    )
                });
                let settles = self.flights.is_none() && exchange.question.is_put_off(&reply);
                exchange.settles.set(settles);
                self.reply(exchange, reply);
            }
            Served::Parked => {
                self.trace.note(self.now, 16 + id, || format!("consul  #{id} waits"));
            }
            Served::Held(until) => {
                let pause = until.since(self.now) + self.random.millis(0..=1_000);
                self.last_arrival = self.last_arrival.max(self.now + pause);
                self.after(pause, Event::Arrive(exchange.clone()));
            }
        }
        self.wake_readers();
    }

    /// Answers the blocking reads that are ready.
    pub(super) fn wake_readers(&mut self) {
        self.record_ends();
        for (exchange, reply) in self.server.wake(self.now) {
            self.reply(&exchange, reply);
        }
        let due = self.server.next_wakeup();
        if let Some(due) = due.filter(|due| self.recheck_at.is_none_or(|at| *due < at)) {
            self.recheck_at = Some(due);
            self.after(due.since(self.now), Event::Recheck);
        }
    }

    /// Delivers an answer, or a failure.
    pub(super) fn conclude(
        &mut self,
        exchange: &Rc<Exchange>,
        result: Result<&WireReply, Trouble>,
    ) {
        let mut is_heard = false;
        // A later answer to the same question is dropped, or reaches a machine that rejects
        // it by its ticket.
        if self.waiting.remove(&exchange.id).is_none() {
            let watches = exchange.part.is_watch();
            let is_explored = self.flights.is_some();
            if watches || result.is_err() || !(is_explored || self.random.chance(300)) {
                return;
            }
        } else if let Err(Trouble::Connect(_)) = result {
            self.record_unsent(exchange);
        } else {
            is_heard = self.record_heard(exchange, result.as_ref().ok().copied());
        }
        let (process, id) = (exchange.process, exchange.id);
        if let Err(Trouble::Refused(_)) = result
            && !exchange.part.is_watch()
        {
            self.processes[process].refused();
        }
        let fact = exchange.question.clone().read(result);
        self.trace.note(self.now, 16 + id, || format!("p{process}      #{id} {fact:?}"));
        self.note_news_of_takeovers(exchange, &fact);
        reached::answer(&fact).into_iter().for_each(|name| self.stats.reach(name));
        let slot = match &fact {
            Fact::Slot(slot, permit::Event::Lock(_)) => Some(slot.clone()),
            Fact::Locked { answers, .. } => answers.first().map(|(it, _)| it.slot.clone()),
            _ => None,
        };
        self.processes[process].learn(exchange.part, fact);
        if is_heard {
            self.record_deadline(process);
        }
        self.settle(process);
        let phase = slot.and_then(|slot| reached::phase(slot.machine().state()));
        phase.into_iter().for_each(|name| self.stats.reach(name));
    }

    /// Whether the agent accepts no more blocking reads.
    pub(super) fn is_full(&self) -> bool {
        self.plan.connections.is_some_and(|most| self.server.parked.len() >= most)
    }

    /// Answers a process's probe of the agent's connections.
    pub(super) fn probe(&mut self, process: usize, read: Ticket, part: Part) {
        let refused = self.is_full();
        let event = watch::Event::Probed { read, refused };
        self.processes[process].learn(part, Fact::Watch(event));
        self.settle(process);
    }
}
