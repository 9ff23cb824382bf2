//! The whole state of a history.

use std::{fmt::Write as _, sync::Arc};

use super::{
    super::{
        event::Event, network::Flight, parts::Worker, process::Process, question::Question,
        server::Exchange,
    },
    canon::Text,
    stage::Stage,
};
use crate::{
    holding::{keeping::SessionQuestion, slot_question::SlotQuestion},
    key::Key,
    protocol::Ticket,
};

impl Stage {
    /// The hash of the state's canonical form.
    pub(super) fn hash(&self) -> u128 {
        self.text().hash()
    }

    fn text(&self) -> Text {
        let (world, mut text) = (&self.world, Text::default());
        for (id, host) in world.processes.iter().enumerate() {
            host.set_time(world.now);
            let now = host.clock.now();
            for (place, key) in self.wanted().into_iter().enumerate() {
                text.add((MOST_KEYS * id + place) as u8, now, anatomy(host, key));
            }
            let pokes = host.pending();
            let terms: Vec<_> =
                host.taken.values().map(|t| (t.token(), t.would_be_valid())).collect();
            let tenures: Vec<_> = host.tenures.values().map(|t| t.would_lead()).collect();
            let troops: Vec<_> = host.troops.values().map(|troop| troop.anatomy()).collect();
            let line = format!(
                "{:?} {pokes:?} {terms:?} {tenures:?} {troops:?} {} {:?} {:?} {:?} {}",
                host.wards.warden(),
                host.wards.slots().anatomy(),
                host.workers,
                host.mail,
                host.fuse,
                host.client.anatomy()
            );
            text.add(255, now, line);
            let session = format!(
                "{:?} {} {} {:?} {} {}",
                host.session,
                host.session_number,
                host.watch_number,
                host.sessions,
                host.is_over,
                world.paused[id]
            );
            text.add(255, now, session);
            text.add(255, now, format!("{:?}", host.watchers.as_ref().map(|it| it.machine())));
            let (cut, denied) = (self.is_cut(id), world.server.lacking[id]);
            let times = (world.disturbed[id], world.runs_since[id]);
            text.add(255, world.now, format!("{cut} {denied:?} {times:?}"));
        }
        self.messages(&mut text);
        let engine = without_generators(&format!("{:?}", world.server.api.engine));
        text.add(255, world.now, engine);
        let server = &world.server;
        text.add(
            255,
            world.now,
            format!(
                "{:?} {:?} {:?} {:?} {:?} {} {:?} {:?} {:?}",
                server.locks,
                server.has_denied,
                server.snapshot,
                world.invariants,
                world.elections,
                world.restored,
                world.writes,
                (&world.permits, &world.takeovers),
                // It decides the next caller's value.
                (world.calls % 3, self.left)
            ),
        );
        text
    }

    /// Adds the messages under way, the time limits and the waiting readers: in order, if
    /// their order decides what comes next.
    fn messages(&self, text: &mut Text) {
        let world = &self.world;
        let mut add = |line: String, is_ordered: bool| match is_ordered {
            true => text.add(255, world.now, line),
            false => text.add_unordered(world.now, line),
        };
        for Flight { exchange, reply, is_late } in self.flights() {
            let waits = world.waiting.contains_key(&exchange.id);
            let line = format!("{waits} {} {reply:?} {is_late}", describe(exchange));
            add(line, self.is_prompt && !is_late);
        }
        for ((at, _), event) in &world.events {
            if let Event::Timeout(exchange) = event {
                add(format!("{at:?} {}", describe(exchange)), self.is_prompt);
            }
        }
        for ((at, _), event) in self.planned() {
            let what = match event {
                Event::Operator(act) => format!("{act:?}"),
                Event::Break(exchange, _) => describe(exchange),
                other => other.name(),
            };
            add(format!("{at:?} {what}"), true);
        }
        for (parked, exchange) in world.server.parked.values() {
            add(format!("{parked:?} {}", describe(exchange)), self.is_prompt);
        }
    }
}

/// More than the keys of a scope.
const MOST_KEYS: usize = 8;

/// The slot of a key with its callers.
fn anatomy(host: &Process, key: &Key) -> String {
    let slot = host.wards.slots().get(key);
    let mut all = slot.as_ref().map(|slot| slot.anatomy()).unwrap_or_default();
    for Worker { slot: its, .. } in host.workers.values().filter(|it| it.slot.key == *key) {
        if slot.as_ref().is_none_or(|slot| !Arc::ptr_eq(slot, its)) {
            let _ = write!(all, "gone {};", its.anatomy());
        }
    }
    for it in host.callers.values().filter(|it| it.key == *key) {
        let (waits, lease, until) = (it.is_waiting(), &it.lease, it.untold_since);
        let _ = write!(all, "{waits} {lease:?} {} {} {until:?};", it.owns, it.was_invalid);
    }
    all
}

fn describe(exchange: &Exchange) -> String {
    let ticket = match &exchange.question {
        Question::Session(SessionQuestion::Create { ticket, .. })
        | Question::Session(SessionQuestion::Renew { ticket, .. })
        | Question::Session(SessionQuestion::Destroy { ticket, .. })
        | Question::Session(SessionQuestion::DeleteFence { ticket, .. })
        | Question::Session(SessionQuestion::Raise { ticket, .. })
        | Question::Session(SessionQuestion::ReadFence { ticket, .. })
        | Question::Session(SessionQuestion::List { ticket, .. })
        | Question::Session(SessionQuestion::ListFences { ticket, .. })
        | Question::Slot(_, SlotQuestion::Join { ticket, .. })
        | Question::Slot(_, SlotQuestion::Leave { ticket, .. })
        | Question::Slot(_, SlotQuestion::ListHolders { ticket, .. })
        | Question::Slot(_, SlotQuestion::Prune { ticket, .. })
        | Question::Slot(_, SlotQuestion::Write { ticket, .. })
        | Question::Slot(_, SlotQuestion::Release { ticket, .. })
        | Question::Slot(_, SlotQuestion::Read { ticket, .. })
        | Question::Slot(_, SlotQuestion::AskSession { ticket, .. })
        | Question::Watch { read: ticket, .. }
        | Question::Prefix { read: ticket, .. } => *ticket,
        Question::Lock { locks, .. } => {
            locks.first().map_or(Ticket(0), |(_, waiter)| waiter.ticket)
        }
        Question::LockAll { slots, .. } => slots.first().map_or(Ticket(0), |(_, ticket)| *ticket),
        Question::Session(SessionQuestion::DeleteFences { .. }) => Ticket(0),
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
