//! The record of one key in real processes and a real Consul, for `spec/follow.mjs`.
//! `src/simulation/record.rs` describes its lines. The end of a session has also a `reason`: it was
//! `destroyed`, or it `expired`, if no wire shows that somebody destroyed it.
//!
//! Wires show the requests and the replies. Consul serves those that the specification knows one at
//! a time, and after each the store is read, so that their order and the key's index are known. The
//! store is also read in between, to notice the end of a session.
//!
//! What a process believes comes from its log. It ends an ownership before it asks for the next
//! session or lock, but logs the loss a moment later; the record has the loss no later than that
//! request.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use actix_dsync::Timing;
use serde_json::{Value, json};

use crate::checker::Logs;
use crate::exchange::{Request, Sent};
use crate::record::{Own, What, boot_nanos};
use crate::support::operator::{Entry, Operator};

/// How long the store goes unread.
const GLANCE: Duration = Duration::from_millis(20);
/// How much later than its process a wire may see a request.
const SLACK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Observer {
    operator: Operator,
    prefix: String,
    timing: Timing,
    state: Mutex<State>,
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    requests: u64,
    /// The number of each session.
    sessions: BTreeMap<String, u64>,
    alive: BTreeSet<String>,
    store: Store,
    /// When the store was read last, at the earliest.
    looked: u64,
    /// When Consul granted a lock, at the latest.
    grants: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Line {
    at: u64,
    fields: Value,
    /// For the end of the holder's session: when it was at the earliest.
    not_before: Option<u64>,
}

/// The key and the fence entries.
#[derive(Debug, Default)]
struct Store {
    index: u64,
    holder: Option<String>,
    /// The index of each session's fence entry, and whether the session holds it.
    fences: BTreeMap<String, (u64, bool)>,
}

/// A request that Consul served.
struct Served<'a> {
    sent: &'a Sent,
    from: u64,
    to: u64,
}

fn line(at: u64, fields: Value) -> Line {
    Line { at, fields, not_before: None }
}

impl Observer {
    /// Observes the key `0` below `prefix`.
    pub(crate) fn start(operator: Operator, prefix: &str, timing: Timing) -> Arc<Self> {
        let observer = Arc::new(Self {
            operator,
            prefix: prefix.to_owned(),
            timing,
            state: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let looking = observer.clone();
        thread::spawn(move || {
            while !looking.is_over.load(Ordering::Relaxed) {
                thread::sleep(GLANCE);
                looking.look(&mut looking.state(), None);
            }
        });
        observer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request that the specification knows. Returns nothing for a read that it does not
    /// know.
    pub(crate) fn sent(&self, process: usize, message: &[u8], at: u64) -> Option<Sent> {
        let request = Request::parse(message, &self.prefix)?;
        let mut state = self.state();
        state.requests += 1;
        let id = state.requests;
        let session = request.session().map_or(0, |session| state.number(session));
        if let Some((name, mut fields)) = request.fields() {
            for (field, value) in
                [("event", json!("send")), ("id", json!(id)), ("process", json!(process))]
            {
                fields[field] = value;
            }
            (fields["request"], fields["session"]) = (json!(name), json!(session));
            state.lines.push(line(at, fields));
        }
        Some(Sent { id, request, result: None })
    }

    /// Lets Consul serve a request, and notes what it did.
    pub(crate) fn served(
        &self,
        sent: Option<&mut Sent>,
        exchange: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        let Some(sent) = sent else { return exchange() };
        let mut state = self.state();
        let from = boot_nanos();
        let reply = exchange()?;
        let to = boot_nanos();
        if let Some(session) = sent.request.created(&reply) {
            state.alive.insert(session.clone());
            sent.result = Some(state.number(&session));
        } else {
            sent.result = sent.request.result(&reply);
        }
        self.look(&mut state, Some(Served { sent, from, to }));
        Ok(reply)
    }

    /// Notes that the process has the reply.
    pub(crate) fn heard(&self, sent: Option<Sent>, at: u64) {
        if let Some(Sent { id, request, result: Some(result) }) = sent
            && request.fields().is_some()
        {
            let fields = json!({ "event": "hear", "id": id, "result": result, "until": 0 });
            self.state().lines.push(line(at, fields));
        }
    }

    /// Reads the store; notes the sessions that have ended, and the request that was served.
    fn look(&self, state: &mut State, served: Option<Served<'_>>) {
        let from = boot_nanos();
        let Ok(store) = self.store() else {
            assert!(served.is_none(), "the store cannot be read after a request");
            return;
        };
        let now = boot_nanos();
        let ended: Vec<String> =
            state.alive.iter().filter(|it| state.has_ended(it, &store, &served)).cloned().collect();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for session in ended {
            state.alive.remove(&session);
            let fence = store.fences.get(&session).map_or(0, |(index, _)| *index);
            let is_held = state.store.holder.as_ref() == Some(&session);
            let index = if is_held { store.index } else { fence };
            let comes_first = served.as_ref().is_some_and(|it| it.follows_end(&session, index));
            let at = served.as_ref().filter(|_| comes_first).map_or(now, |served| served.from);
            let is_asked = served.as_ref().is_some_and(|it| it.sent.destroys(&session));
            let fields = json!({
                "event": "end", "session": state.number(&session), "index": store.index, "fence": fence,
                "reason": if is_asked { "destroyed" } else { "expired" },
            });
            let not_before = is_held.then_some(state.looked);
            let places = if comes_first { &mut before } else { &mut after };
            places.push((index, Line { at, fields, not_before }));
        }
        before.sort_by_key(|(index, _)| *index);
        after.sort_by_key(|(index, _)| *index);
        let takes_key = after.iter().any(|(_, line)| line.not_before.is_some());
        state.lines.extend(before.into_iter().map(|(_, line)| line));
        if let Some(Served { sent, from, to }) = served {
            let index = match (&sent.request, sent.result) {
                (Request::Raise { .. }, Some(result)) => result,
                (Request::Lock { .. }, Some(result)) if takes_key && result > 0 => result,
                _ if takes_key => state.store.index,
                _ => store.index,
            };
            if let (Some(result), Some(_)) = (sent.result, sent.request.fields()) {
                let is_grant = matches!(sent.request, Request::Lock { .. }) && result > 0;
                state.grants.extend(is_grant.then_some(to));
                // A lock-delay was over at the end of a grant, and not at the start of a refusal.
                let at = if result > 0 { to } else { from };
                let fields =
                    json!({ "event": "serve", "id": sent.id, "index": index, "result": result });
                state.lines.push(line(at, fields));
            }
        }
        state.lines.extend(after.into_iter().map(|(_, line)| line));
        (state.store, state.looked) = (store, from);
    }

    fn store(&self) -> io::Result<Store> {
        let mut store = Store::default();
        for (key, entry) in self.operator.entries(&format!("{}/", self.prefix))? {
            let Entry { modify_index, session, .. } = entry;
            let name = key.strip_prefix(&format!("{}/", self.prefix)).unwrap_or_default();
            if name == "0" {
                (store.index, store.holder) = (modify_index, session);
            } else if let Some(id) = name.strip_prefix(".dsync/") {
                let is_held = session.as_deref() == Some(id);
                store.fences.insert(id.to_owned(), (modify_index, is_held));
            }
        }
        Ok(store)
    }

    /// The record, with what the processes logged.
    pub(crate) fn record(&self, logs: &Logs) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let mut state = self.state();
        let delay = nanos(self.timing.lock_delay);
        let grants = std::mem::take(&mut state.grants);
        for line in &mut state.lines {
            // As late as the lock that followed allows.
            let next = grants.iter().find(|grant| **grant > line.at);
            if let (Some(from), Some(next)) = (line.not_before, next) {
                line.at = line.at.min(from.max(next.saturating_sub(delay)));
            }
        }
        let mut lines = beliefs(logs, &state.lines);
        lines.append(&mut state.lines);
        lines.sort_by_key(|line| line.at);
        let start = lines.first().map_or(0, |line| line.at);
        let scope = json!({
            "event": "scope", "processes": logs.events.len(), "ttl": nanos(self.timing.session_ttl),
            "delay": delay, "lease": nanos(self.timing.lease()), "slack": nanos(SLACK),
        });
        let lines = lines.into_iter().map(|Line { at, mut fields, .. }| {
            fields["at"] = json!(at - start);
            if let Some(until) = fields["until"].as_u64().filter(|until| *until > 0) {
                fields["until"] = json!(until - start);
            }
            format!("{fields}\n")
        });
        format!("{scope}\n{}", lines.collect::<String>())
    }
}

impl State {
    fn number(&mut self, session: &str) -> u64 {
        let next = self.sessions.len() as u64 + 1;
        *self.sessions.entry(session.to_owned()).or_insert(next)
    }

    fn has_ended(&self, session: &str, store: &Store, served: &Option<Served<'_>>) -> bool {
        let had_fence = self.store.fences.get(session).is_some_and(|(_, is_held)| *is_held);
        let has_fence = store.fences.get(session).is_some_and(|(_, is_held)| *is_held);
        (had_fence && !has_fence)
            || served.as_ref().is_some_and(|served| served.sent.shows_end(session))
    }
}

impl Served<'_> {
    /// Whether the session had ended, at this index, before the request was served. If the reply
    /// does not show which came first, it had: the process may have asked because of that.
    fn follows_end(&self, session: &str, index: u64) -> bool {
        match (&self.sent.request, self.sent.result) {
            (Request::Lock { .. } | Request::Raise { .. }, Some(result)) if result > 0 => {
                index < result
            }
            (request, result) => result == Some(0) || request.session() != Some(session),
        }
    }
}

/// What the processes logged.
fn beliefs(logs: &Logs, wires: &[Line]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (process, (name, events)) in logs.events.iter().enumerate() {
        let index = |own: &Own| own.token >> 16;
        let lose = |at, reason: &str| {
            line(at, json!({ "event": "lose", "process": process, "reason": reason }))
        };
        let mut owned_at = 0;
        for event in events {
            match &event.what {
                What::Granted(own) => {
                    owned_at = event.at;
                    let fields = json!({ "event": "own", "process": process, "index": index(own) });
                    lines.push(line(event.at, fields));
                    let Some((first, last)) = logs.writes.span(name, own) else { continue };
                    let deadline = events.iter().find_map(|event| match &event.what {
                        What::Invalid { own: it, deadline } if it == own => Some(*deadline),
                        _ => None,
                    });
                    for (at, until) in [(first.0, 0), (last.0, deadline.unwrap_or(0))] {
                        lines.push(line(
                            at,
                            json!({
                                "event": "believe", "process": process, "index": index(own),
                                "until": until,
                            }),
                        ));
                    }
                }
                What::Releases(_) => lines.push(lose(event.at, "Released")),
                What::Lost { reason, .. } => {
                    let reason = match reason.as_str() {
                        "deadline_passed" => "DeadlinePassed",
                        "session_gone" => "SessionGone",
                        other => other,
                    };
                    let next = wires.iter().find(|line| {
                        line.at > owned_at
                            && line.fields["process"] == process
                            && (line.fields["request"] == "create"
                                || line.fields["request"] == "lock")
                    });
                    lines.push(lose(next.map_or(event.at, |line| line.at.min(event.at)), reason));
                }
                _ => {}
            }
        }
    }
    lines
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
