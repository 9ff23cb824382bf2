//! Consul's side: serves the requests that arrive.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use super::{parts::Part, plan::Plan, question::Question};
use crate::{
    clock::Moment,
    consul::{
        ask::{Ask as _, CreateSession, Keyspace},
        fact::{Fence, SessionId},
        wire::{WireReply, WireRequest},
    },
    embedded::{
        api::{Api, Parked, Response},
        engine::{Settings, Snapshot},
    },
    holding::{keeping::SessionQuestion, slot_question::SlotQuestion},
    key::Key,
};

/// A request and its reply in flight.
pub(super) struct Exchange {
    pub(super) id: u64,
    pub(super) process: usize,
    pub(super) life: u64,
    /// The part that sent it.
    pub(super) part: Part,
    pub(super) question: Question,
    pub(super) request: WireRequest,
    /// The session that it renews, if locks were taken away from it before, and the index of
    /// the last taking.
    pub(super) robbed: Option<(SessionId, u64)>,
    /// The process has read an answer, after which no copy may arrive.
    pub(super) void: Cell<bool>,
    /// Such an answer is on its way.
    pub(super) settles: Cell<bool>,
}

/// A period without a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Election {
    pub(super) until: Moment,
    /// Whether requests are held until it is over instead of refused.
    pub(super) holds: bool,
}

pub(super) enum Served {
    Reply(WireReply),
    Parked,
    Held(Moment),
}

pub(super) struct Server {
    pub(super) api: Api,
    pub(super) parked: BTreeMap<u64, (Parked, Rc<Exchange>)>,
    pub(super) election: Option<Election>,
    pub(super) snapshot: Option<Snapshot>,
    /// When each successful lock last took effect.
    pub(super) locks: BTreeMap<(Key, SessionId, u64), Moment>,
    fence_denied: Vec<bool>,
    /// The processes that were ever denied a request.
    pub(super) has_denied: Vec<bool>,
    /// The processes that may always read from now on: nothing else shows what a copy of a denied
    /// request has locked.
    keeps_reads: Vec<bool>,
    /// The rights that each process lacks, and until when.
    pub(super) lacking: Vec<Lacking>,
    ttl_stretch: u32,
    /// Recent replies to reads of each key.
    past: BTreeMap<Key, VecDeque<WireReply>>,
}

/// The times until which a process's token lacks each right.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lacking {
    pub(super) sessions: Moment,
    pub(super) writes: Moment,
    pub(super) reads: Moment,
    pub(super) fences: Moment,
}

/// The most old replies of one key that a deposed leader can repeat.
const MOST_PAST: usize = 6;

fn reply(status: u16, body: &str) -> WireReply {
    WireReply { status, index: None, body: body.into() }
}

impl Server {
    pub(super) fn new(plan: &Plan) -> Self {
        let settings = Settings {
            expiry: plan.expiry,
            seed: plan.seed ^ 0xC0_4507,
            is_steady: plan.is_explored,
            ..Settings::default()
        };
        Self {
            api: Api::new(settings),
            parked: BTreeMap::new(),
            election: None,
            snapshot: None,
            locks: BTreeMap::new(),
            fence_denied: plan.fence_denied.clone(),
            has_denied: vec![false; plan.processes],
            keeps_reads: vec![false; plan.processes],
            lacking: vec![Lacking::default(); plan.processes],
            ttl_stretch: plan.ttl_stretch,
            past: BTreeMap::new(),
        }
    }

    /// The reply to a process that lacks the right, if it does.
    fn denied(&self, now: Moment, exchange: &Exchange) -> Option<WireReply> {
        let lacking = self.lacking[exchange.process];
        let question = &exchange.question;
        let no_fence = self.fence_denied[exchange.process] || lacking.fences > now;
        let errors = |ops: &[u64]| {
            let error = |op: &u64| format!(r#"{{"OpIndex":{op},"What":"Permission denied"}}"#);
            let errors: Vec<String> = ops.iter().map(error).collect();
            reply(409, &format!(r#"{{"Results":null,"Errors":[{}]}}"#, errors.join(",")))
        };
        let forbidden = || reply(403, "Permission denied");
        match question {
            Question::Session(SessionQuestion::Create { .. })
            | Question::Session(SessionQuestion::Renew { .. })
            | Question::Session(SessionQuestion::Destroy { .. })
            | Question::Session(SessionQuestion::List { .. })
            | Question::Slot(_, SlotQuestion::AskSession { .. }) => {
                (lacking.sessions > now).then(forbidden)
            }
            Question::Lock { .. } | Question::LockAll { .. } if lacking.writes > now => {
                let first = question.locks().next().map(|ask| ask.fence);
                let first = u64::from(first != Some(Fence::Unusable));
                // The right can be missing on one of the keys or on all.
                let of_one = exchange.id.is_multiple_of(2);
                let lacking = if of_one { 1 } else { question.locks().count() as u64 };
                let ops = first..first + 2 * lacking;
                Some(errors(&ops.collect::<Vec<_>>()))
            }
            Question::Slot(_, SlotQuestion::Join { ask, .. }) if lacking.writes > now => {
                let first = u64::from(ask.fence != Fence::Unusable);
                Some(errors(&[first, first + 1]))
            }
            Question::Slot(_, SlotQuestion::Leave { .. })
            | Question::Slot(_, SlotQuestion::Prune { .. })
                if lacking.writes > now =>
            {
                Some(errors(&[0]))
            }
            Question::Slot(_, SlotQuestion::Write { .. }) if lacking.writes > now => {
                Some(errors(&[2]))
            }
            Question::Slot(_, SlotQuestion::Release { .. }) if lacking.writes > now => {
                Some(errors(&[0, 1]))
            }
            Question::Slot(_, SlotQuestion::Read { .. })
            | Question::Slot(_, SlotQuestion::ListHolders { .. })
            | Question::Watch { .. }
            | Question::Prefix { .. } => {
                (lacking.reads > now && !self.keeps_reads[exchange.process]).then(forbidden)
            }
            Question::Session(SessionQuestion::ReadFence { .. }) => no_fence.then(forbidden),
            _ => (no_fence && question.touches_fence()).then(|| errors(&[0])),
        }
    }

    /// An earlier reply to a read of the key.
    pub(super) fn past(&self, key: &Key, place: usize) -> Option<WireReply> {
        let past = self.past.get(key)?;
        past.get(place % past.len().max(1)).cloned()
    }

    /// Drops all earlier replies, because the store was replaced.
    pub(super) fn forget_the_past(&mut self) {
        self.past.clear();
    }

    fn note_past(&mut self, question: &Question, given: &WireReply) {
        let key = match question {
            Question::Slot(slot, SlotQuestion::Read { .. }) => &slot.key,
            Question::Watch { ask, .. } => &ask.key,
            _ => return,
        };
        if given.status != 200 && given.status != 404 {
            return;
        }
        let past = self.past.entry(key.clone()).or_default();
        past.push_back(given.clone());
        if past.len() > MOST_PAST {
            past.pop_front();
        }
    }

    pub(super) fn serve(&mut self, now: Moment, exchange: &Rc<Exchange>) -> Served {
        match self.election {
            Some(Election { until, holds: true }) => return Served::Held(until),
            Some(_) => return Served::Reply(Self::leaderless()),
            None => {}
        }
        if let Some(denied) = self.denied(now, exchange) {
            self.has_denied[exchange.process] = true;
            let may_read = self.lacking[exchange.process].reads <= now;
            // Another server, which still knew the right, got the first copy of the request.
            if exchange.question.may_lock() && may_read && exchange.id % 4 < 2 {
                self.keeps_reads[exchange.process] = true;
                self.carry_out(now, exchange);
            }
            return Served::Reply(denied);
        }
        self.carry_out(now, exchange)
    }

    fn carry_out(&mut self, now: Moment, exchange: &Rc<Exchange>) -> Served {
        let question = &exchange.question;
        let stretched = match question {
            Question::Session(SessionQuestion::Create { ask, .. }) if self.ttl_stretch > 1 => {
                let ttl = ask.ttl * self.ttl_stretch;
                Some(CreateSession { ttl, ..ask.clone() }.request(&Keyspace::default()))
            }
            _ => None,
        };
        match self.api.respond(now, stretched.as_ref().unwrap_or(&exchange.request)) {
            Response::Now(reply) => {
                for ask in question.locks().filter(|_| reply.status == 200) {
                    if let Some(pair) = self.api.engine.pair(ask.key.as_str().as_bytes()) {
                        let lock = (ask.key.clone(), ask.session.clone(), pair.modify_index);
                        self.locks.insert(lock, now);
                    }
                }
                if let Question::Slot(_, SlotQuestion::Join { ask, .. }) = question
                    && reply.status == 200
                    && let Some(pair) = self.api.engine.pair(ask.key.as_str().as_bytes())
                {
                    let lock = (ask.key.clone(), ask.session.clone(), pair.modify_index);
                    self.locks.insert(lock, now);
                }
                self.note_past(question, &reply);
                Served::Reply(reply)
            }
            Response::Parked(parked) => {
                self.parked.insert(exchange.id, (parked, exchange.clone()));
                Served::Parked
            }
        }
    }

    /// The reply of a server without a leader.
    pub(super) fn leaderless() -> WireReply {
        reply(500, "rpc error making call: EOF")
    }

    /// Answers the blocking reads that are ready.
    pub(super) fn wake(&mut self, now: Moment) -> Vec<(Rc<Exchange>, WireReply)> {
        let mut ready = Vec::new();
        let api = &mut self.api;
        api.engine.advance(now);
        self.parked.retain(|_, (parked, exchange)| match api.recheck(now, parked) {
            Some(reply) => {
                ready.push((exchange.clone(), reply));
                false
            }
            None => true,
        });
        for (exchange, reply) in &ready {
            self.note_past(&exchange.question, reply);
        }
        ready
    }

    /// When the server's next spontaneous change is due.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        let parked = self.parked.values().map(|(parked, _)| parked.deadline()).min();
        self.api.next_wakeup().into_iter().chain(parked).min()
    }

    /// The session that holds the key, and the key's `ModifyIndex`.
    pub(super) fn holder(&self, key: &Key) -> Option<(SessionId, u64)> {
        let pair = self.api.engine.pair(key.as_str().as_bytes())?;
        Some((pair.session.clone()?, pair.modify_index))
    }

    pub(super) fn is_alive(&self, session: &SessionId) -> bool {
        self.api.engine.session(session).is_some()
    }
}
