//! Consul's side: what becomes of a request that arrives.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use super::{parts::Part, plan::Plan, question::Question};
use crate::{
    clock::Moment,
    consul::{
        fact::SessionId,
        wire::{WireReply, WireRequest},
    },
    embedded::{
        api::{Api, Parked, Response},
        engine::{Settings, Snapshot},
    },
    key::Key,
};

/// A question on its way, and back.
pub(super) struct Exchange {
    pub(super) id: u64,
    pub(super) process: usize,
    pub(super) life: u64,
    /// The part that asked.
    pub(super) part: Part,
    pub(super) question: Question,
    pub(super) request: WireRequest,
    /// The process has read an answer after which no copy may arrive.
    pub(super) void: Cell<bool>,
}

/// A time without a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Election {
    pub(super) until: Moment,
    /// Requests are held until it is over, rather than refused.
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
    /// When each lock that succeeded last took effect.
    pub(super) locks: BTreeMap<(Key, SessionId, u64), Moment>,
    fence_denied: Vec<bool>,
}

fn reply(status: u16, body: &str) -> WireReply {
    WireReply { status, index: None, body: body.into() }
}

impl Server {
    pub(super) fn new(plan: &Plan) -> Self {
        let settings =
            Settings { expiry: plan.expiry, seed: plan.seed ^ 0xC0_4507, ..Settings::default() };
        Self {
            api: Api::new(settings),
            parked: BTreeMap::new(),
            election: None,
            snapshot: None,
            locks: BTreeMap::new(),
            fence_denied: plan.fence_denied.clone(),
        }
    }

    pub(super) fn serve(&mut self, now: Moment, exchange: &Rc<Exchange>) -> Served {
        match self.election {
            Some(Election { until, holds: true }) => return Served::Held(until),
            Some(_) => return Served::Reply(Self::leaderless()),
            None => {}
        }
        let question = &exchange.question;
        if self.fence_denied[exchange.process] && question.touches_fence() {
            return Served::Reply(match question {
                Question::ReadFence { .. } => reply(403, "Permission denied"),
                _ => reply(
                    409,
                    r#"{"Results":null,"Errors":[{"OpIndex":0,"What":"Permission denied"}]}"#,
                ),
            });
        }
        match self.api.respond(now, &exchange.request) {
            Response::Now(reply) => {
                if let Question::Lock { ask, .. } = question
                    && reply.status == 200
                    && let Some(pair) = self.api.engine.pair(ask.key.as_str().as_bytes())
                {
                    let lock = (ask.key.clone(), ask.session.clone(), pair.modify_index);
                    self.locks.insert(lock, now);
                }
                Served::Reply(reply)
            }
            Response::Parked(parked) => {
                self.parked.insert(exchange.id, (parked, exchange.clone()));
                Served::Parked
            }
        }
    }

    /// What a server without a leader answers.
    pub(super) fn leaderless() -> WireReply {
        reply(500, "rpc error making call: EOF")
    }

    /// The blocking reads that can be answered by now.
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
        ready
    }

    /// When the server does something by itself.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        let parked = self.parked.values().map(|(parked, _)| parked.deadline()).min();
        self.api.next_wakeup().into_iter().chain(parked).min()
    }

    /// Which session holds the key, and the index of the key's last change.
    pub(super) fn holder(&self, key: &Key) -> Option<(SessionId, u64)> {
        let pair = self.api.engine.pair(key.as_str().as_bytes())?;
        Some((pair.session.clone()?, pair.modify_index))
    }

    pub(super) fn is_alive(&self, session: &SessionId) -> bool {
        self.api.engine.session(session).is_some()
    }
}
