//! The network: delays, loses, duplicates and cuts off messages.

use std::{rc::Rc, time::Duration};

use super::{
    event::Event,
    question::Question,
    server::Exchange,
    world::{START, World},
};
use crate::{
    clock::Moment,
    consul::{fact::Trouble, wire::WireReply},
};

/// One process's link to Consul.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Requests are lost until then.
    pub(super) requests_cut: Moment,
    /// Replies are lost until then.
    pub(super) replies_cut: Moment,
    /// Until then, replies take a third to 95 % of the request timeout.
    pub(super) replies_slow: Moment,
    /// Connections are refused until then.
    pub(super) refused: Moment,
}

/// A message under way, which an exploration carries when it chooses.
pub(super) struct Flight {
    pub(super) exchange: Rc<Exchange>,
    /// `None` for a request.
    pub(super) reply: Option<WireReply>,
    /// It may stay under way while time passes.
    pub(super) is_late: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self { requests_cut: START, replies_cut: START, replies_slow: START, refused: START }
    }
}

impl World {
    fn latency(&mut self) -> Duration {
        Duration::from_micros(200 + (self.random.within(0..=5_000) >> self.random.within(0..=4)))
    }

    pub(super) fn disturb(&mut self, process: usize, lasts: Duration) {
        self.disturbed[process] = self.disturbed[process].max(self.now + lasts);
    }

    pub(super) fn lose(&mut self, exchange: &Exchange, what: &'static str) {
        self.stats.fault(what);
        self.disturb(exchange.process, Duration::ZERO);
        let id = exchange.id;
        self.trace.note(self.now, 8, || format!("network  #{id}: {what}"));
    }

    /// Transmits a request.
    pub(super) fn transmit(&mut self, exchange: Rc<Exchange>) {
        let link = self.links[exchange.process];
        if self.flights.is_some() && link.requests_cut <= self.now {
            if self.is_refused(&exchange) {
                return self.refuse_connection(exchange, Duration::ZERO);
            }
            let request = Flight { exchange, reply: None, is_late: false };
            return self.flights.get_or_insert_default().push(request);
        }
        let mut delay = self.latency();
        let calm = self.is_healed();
        if self.is_withheld(&exchange) || (!calm && self.random.chance(self.plan.unsent)) {
            self.lose(&exchange, "request never sent");
            delay += self.random.skewed_millis(0..=1_000);
            return self.after(delay, Event::Unsent(exchange));
        }
        if link.refused > self.now {
            self.lose(&exchange, "refused");
            if exchange.id.is_multiple_of(2) {
                return self.after(delay, Event::Unsent(exchange));
            }
            let trouble = Trouble::Broken("connection reset by peer".into());
            return self.after(delay, Event::Break(exchange, trouble));
        }
        if self.is_refused(&exchange) {
            return self.refuse_connection(exchange, delay);
        }
        if link.requests_cut > self.now {
            return self.lose(&exchange, "request cut off");
        }
        if !calm && self.random.chance(self.plan.loss) {
            return self.lose(&exchange, "request lost");
        }
        if !calm && self.random.chance(self.plan.slow) {
            self.stats.fault("request slow");
            delay += self.random.skewed_millis(10..=4_000);
            self.disturb(exchange.process, delay);
        }
        if !calm && self.random.chance(self.plan.late) {
            self.lose(&exchange, "request late");
            delay += self.random.skewed_millis(1_000..=150_000);
            self.last_arrival = self.last_arrival.max(self.now + delay);
        } else if !calm && self.random.chance(self.plan.duplicates) {
            self.lose(&exchange, "request duplicated");
            self.writes.repeated(&exchange.question);
            let later = delay + self.random.skewed_millis(0..=60_000);
            self.last_arrival = self.last_arrival.max(self.now + later);
            self.after(later, Event::Arrive(exchange.clone()));
        }
        self.after(delay, Event::Arrive(exchange));
    }

    /// Whether a full agent refuses the connection for this request. Short reads use the
    /// connections of calls, which seldom need a new one.
    fn is_refused(&mut self, exchange: &Exchange) -> bool {
        let blocks = match &exchange.question {
            Question::Watch { ask, .. } => ask.after.is_some(),
            Question::Prefix { ask, .. } => ask.after.is_some(),
            _ => false,
        };
        let is_calm = self.is_healed() || self.flights.is_some();
        self.is_full() && (blocks || (!is_calm && self.random.chance(20)))
    }

    fn refuse_connection(&mut self, exchange: Rc<Exchange>, delay: Duration) {
        self.stats.fault("connection refused by a full agent");
        if !matches!(exchange.question, Question::Watch { .. } | Question::Prefix { .. }) {
            self.disturb(exchange.process, delay);
        }
        let trouble = Trouble::Refused("connection reset by peer".into());
        self.after(delay, Event::Break(exchange, trouble));
    }

    /// Transmits a reply.
    pub(super) fn reply(&mut self, exchange: &Rc<Exchange>, reply: WireReply) {
        let link = self.links[exchange.process];
        if let Some(flights) = &mut self.flights
            && link.replies_cut <= self.now
        {
            let (exchange, reply) = (exchange.clone(), Some(reply));
            return flights.push(Flight { exchange, reply, is_late: false });
        }
        let mut delay = self.latency();
        if link.replies_cut > self.now || link.refused > self.now {
            return self.lose(exchange, "reply cut off");
        }
        let Some(late) = self.spoil(exchange) else { return };
        delay += late;
        let calm = self.is_healed();
        if !calm && self.random.chance(self.plan.loss) {
            self.lose(exchange, "reply lost");
            if self.random.chance(300) {
                let trouble = Trouble::Broken("unexpected end of file".into());
                self.after(delay, Event::Break(exchange.clone(), trouble));
            }
            return;
        }
        if !calm && self.random.chance(self.plan.slow) {
            self.stats.fault("reply slow");
            delay += self.random.skewed_millis(10..=4_000);
            self.disturb(exchange.process, delay);
        }
        if !calm && link.replies_slow > self.now {
            let most = self.processes[exchange.process].request_timeout().as_millis() as u64;
            delay += self.random.millis(most / 3..=most * 95 / 100);
        }
        self.after(delay, Event::Answer(exchange.clone(), reply));
    }
}
