//! The history of one key as lines of JSON, which `scripts/specify` checks against
//! `spec/lock.qnt`.
//!
//! The first line describes the history: `ttl`, `delay` and `lease` in nanoseconds, the
//! number of `processes`, and in a record of real processes the `slack`: how much later than
//! its process the record may have seen a request. Each other line is an event: `at` in
//! nanoseconds since the start, and `event`, with the numbers that belong to it. Sessions
//! are numbered from 1 in the order in which they were created. 0 stands for none.
//!
//! | `event` | and | what happened |
//! |---|---|---|
//! | `send` | `id`, `process`, `request` | a process sent a request: `create`; `renew` or `look` (for its fence entry) of a `session`; `raise` from the index `found`; `lock` with the index `fence` of its fence entry, as it was `found`; `release` at an `index` |
//! | `serve` | `id`, `index`, `result` | Consul served it. The key, or for `raise` the fence entry, then has this `index`, and the reply says `result`: the number of the session, 1 or 0 for a renewal or release that was done or not, otherwise an index, or 0 if it was refused |
//! | `hear` | `id`, `result`, `until` | the process heard that reply. Its ownerships are then proven `until` then |
//! | `unsent` | `id` | the request was never sent, and its process knows |
//! | `give up` | `id` | its process waits no longer for an answer |
//! | `end` | `session`, `index`, `fence` | the session ended. The key then has this `index`, and its fence entry this one, or 0 if there is none. In a record of real processes, `reason` is `destroyed` or `expired` |
//! | `own` | `process`, `index` | the process owns the key |
//! | `believe` | `process`, `index`, `until` | only of real processes: it checked its ownership, which was valid, until then if `until` is not 0 |
//! | `lose` | `process`, `reason` | it reported the loss |
//! | `close` | `process`, `reason` | its session is closed, and each ownership under it over |
//! | `restart` | `process` | it crashed, and starts again |

use std::{collections::BTreeMap, fmt::Write as _, rc::Rc, time::Duration};

use serde_json::{Value, json};

use super::{
    plan::Plan,
    question::{Fact, Question},
    server::Exchange,
    world::{START, World},
};
use crate::{
    clock::Moment,
    consul::{
        ask::{Keyspace, Read},
        fact::{Created, Expect, Fence, Locked, Raised, Released, Renewed, Seen, SessionId},
        wire::WireReply,
    },
    holding::{keeping::SessionQuestion, slot_question::SlotQuestion},
    ownership::LossReason,
    protocol::{lock, permit, session},
};

/// The lines, if they are kept.
#[derive(Debug, Default)]
pub(super) struct Record {
    lines: Option<Vec<Value>>,
    sessions: BTreeMap<SessionId, u64>,
    alive: BTreeMap<SessionId, u64>,
}

impl Record {
    fn number(&mut self, session: &SessionId) -> u64 {
        let next = self.sessions.len() as u64 + 1;
        *self.sessions.entry(session.clone()).or_insert(next)
    }

    /// Keeps the lines of a history that `spec/lock.qnt` knows all about.
    pub(super) fn of(plan: &Plan) -> Self {
        let (timing, nanos) = (&plan.timing, |it: Duration| it.as_nanos() as u64);
        let scope = || {
            vec![json!({
                "event": "scope", "seed": plan.seed, "processes": plan.processes,
                "ttl": nanos(timing.session_ttl), "delay": nanos(timing.lock_delay),
                "lease": nanos(timing.lease()),
            })]
        };
        Self { lines: plan.is_specified.then(scope), ..Self::default() }
    }

    /// The lines as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in self.lines.iter().flatten() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

fn since_start(at: Moment) -> u64 {
    u64::try_from(at.since(START).as_nanos()).unwrap_or(u64::MAX)
}

impl World {
    fn note(&mut self, event: &str, more: Value) {
        let at = since_start(self.now);
        let Some(lines) = &mut self.record.lines else { return };
        let mut line = json!({ "at": at, "event": event });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        lines.push(line);
    }

    fn is_recorded(&self) -> bool {
        self.record.lines.is_some()
    }

    /// The key's index; 0 if it is missing.
    fn index(&self) -> u64 {
        let pair = self.server.api.engine.pair(self.keys[0].as_str().as_bytes());
        pair.map_or(0, |pair| pair.modify_index)
    }

    pub(super) fn record_sent(&mut self, exchange: &Exchange) {
        if !self.is_recorded() {
            return;
        }
        let record = &mut self.record;
        let (request, session, more) = match &exchange.question {
            Question::Session(SessionQuestion::Create { .. }) => ("create", 0, json!({})),
            Question::Session(SessionQuestion::Renew { ask, .. }) => {
                ("renew", record.number(&ask.session), json!({}))
            }
            Question::Session(SessionQuestion::ReadFence { ask: Read::Fence(session), .. }) => {
                ("look", record.number(session), json!({}))
            }
            Question::Session(SessionQuestion::Raise { ask, .. }) => {
                let found = match ask.from {
                    Fence::At(index) => index,
                    Fence::Unraised | Fence::Unusable => 0,
                };
                ("raise", record.number(&ask.session), json!({ "found": found }))
            }
            Question::Lock { locks, .. } => {
                let Some((ask, _)) = locks.first() else { return };
                let fence = match ask.fence {
                    Fence::At(index) => index,
                    Fence::Unraised | Fence::Unusable => 0,
                };
                let found = match ask.expect {
                    Expect::Missing => 0,
                    Expect::Index(index) => index,
                };
                let session = record.number(&ask.session);
                ("lock", session, json!({ "fence": fence, "found": found }))
            }
            Question::Slot(_, SlotQuestion::Release { ask, .. }) => {
                ("release", record.number(&ask.session), json!({ "index": ask.index }))
            }
            _ => return,
        };
        let mut line = json!({
            "id": exchange.id, "process": exchange.process, "request": request, "session": session,
        });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        self.note("send", line);
    }

    /// The result in the reply, if the question is recorded. A server without a leader gives
    /// none.
    fn result(&mut self, question: &Question, reply: &WireReply) -> Option<u64> {
        if reply.status == 500 {
            return None;
        }
        Some(match question.clone().read(Ok(reply)) {
            Fact::Session(session::Event::Created { answer: Created::Session(id), .. }) => {
                self.record.number(&id)
            }
            Fact::Session(session::Event::Renewed { answer, .. }) => {
                u64::from(matches!(answer, Renewed::Alive { .. }))
            }
            Fact::Session(session::Event::Raised { answer, .. }) => match answer {
                Raised::At(index) => index,
                _ => 0,
            },
            Fact::Session(session::Event::FenceRead { answer, .. }) => match answer {
                Seen::Found { entry, .. } => entry.modify_index,
                _ => 0,
            },
            Fact::Locked { answers, .. } => match answers.first() {
                Some((_, Some(Locked::At(index)))) => *index,
                _ => 0,
            },
            Fact::Slot(_, permit::Event::Lock(lock::Event::Released { answer, .. })) => {
                u64::from(answer == Released::Done)
            }
            _ => return None,
        })
    }

    /// Notes the sessions that have ended.
    pub(super) fn record_ends(&mut self) {
        if !self.is_recorded() {
            return;
        }
        self.server.api.engine.advance(self.now);
        let is_alive = |session: &SessionId| self.server.api.engine.session(session).is_some();
        let ended: Vec<_> =
            self.record.alive.extract_if(.., |session, _| !is_alive(session)).collect();
        let engine = &self.server.api.engine;
        let fence = |id: &SessionId| engine.pair(Keyspace::default().fence(id).as_bytes());
        let fence = |id: &SessionId| fence(id).map_or(0, |pair| pair.modify_index);
        let mut ended: Vec<_> = ended.iter().map(|(id, session)| (fence(id), *session)).collect();
        // In the order in which the store wrote them.
        ended.sort_unstable();
        let index = self.index();
        for (fence, session) in ended {
            self.note("end", json!({ "session": session, "index": index, "fence": fence }));
        }
    }

    pub(super) fn record_served(&mut self, exchange: &Exchange, reply: &WireReply) {
        if !self.is_recorded() {
            return;
        }
        if let Some(result) = self.result(&exchange.question, reply) {
            if let Question::Session(SessionQuestion::Create { .. }) = exchange.question {
                let id = self.record.sessions.iter().find(|(_, number)| **number == result);
                let id = id.map(|(id, _)| id.clone());
                self.record.alive.extend(id.map(|id| (id, result)));
            }
            let index = match exchange.question {
                Question::Session(SessionQuestion::Raise { .. }) => result,
                _ => self.index(),
            };
            self.note("serve", json!({ "id": exchange.id, "index": index, "result": result }));
        }
        self.record_ends();
    }

    /// Notes the answer to a request, before its process handles it. Returns whether
    /// [`record_deadline`](Self::record_deadline) must complete the line.
    pub(super) fn record_heard(
        &mut self,
        exchange: &Rc<Exchange>,
        heard: Option<&WireReply>,
    ) -> bool {
        if !self.is_recorded() || !self.record_knows(&exchange.question) {
            return false;
        }
        let Some(result) = heard.and_then(|reply| self.result(&exchange.question, reply)) else {
            self.note("give up", json!({ "id": exchange.id }));
            return false;
        };
        self.note("hear", json!({ "id": exchange.id, "result": result }));
        true
    }

    pub(super) fn record_unsent(&mut self, exchange: &Exchange) {
        if self.record_knows(&exchange.question) {
            self.note("unsent", json!({ "id": exchange.id }));
        }
    }

    fn record_knows(&self, question: &Question) -> bool {
        matches!(
            question,
            Question::Session(SessionQuestion::Create { .. })
                | Question::Session(SessionQuestion::Renew { .. })
                | Question::Session(SessionQuestion::ReadFence { .. })
                | Question::Session(SessionQuestion::Raise { .. })
                | Question::Lock { .. }
                | Question::Slot(_, SlotQuestion::Release { .. })
        )
    }

    /// Completes the last line, an answer, by the deadline that the process now has.
    pub(super) fn record_deadline(&mut self, process: usize) {
        let host = &self.processes[process];
        let view = host.session.as_ref().and_then(|session| session.view());
        let until = view.and_then(|view| view.cell.deadline(host.clock.now()));
        let until = until.map_or(0, since_start);
        let last = self.record.lines.iter_mut().flatten().next_back();
        if let Some(Value::Object(line)) = last {
            line.insert("until".into(), until.into());
        }
    }

    pub(super) fn record_owned(&mut self, process: usize, index: u64) {
        self.note("own", json!({ "process": process, "index": index }));
    }

    pub(super) fn record_lost(&mut self, process: usize, reason: LossReason) {
        self.note("lose", json!({ "process": process, "reason": format!("{reason:?}") }));
    }

    pub(super) fn record_closed(&mut self, process: usize, reason: LossReason) {
        self.note("close", json!({ "process": process, "reason": format!("{reason:?}") }));
    }

    pub(super) fn record_restart(&mut self, process: usize) {
        self.note("restart", json!({ "process": process }));
    }
}
