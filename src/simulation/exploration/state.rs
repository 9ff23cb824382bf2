//! The whole state of a history.

use std::{fmt::Write as _, sync::Arc};

use super::{
    super::{event::Event, question::Question, server::Exchange},
    canon::Text,
    stage::Stage,
};
use crate::protocol::Ticket;

impl Stage {
    /// The hash of the state's canonical form.
    pub(super) fn hash(&self) -> u128 {
        self.text().hash()
    }

    fn text(&self) -> Text {
        let (world, mut text) = (&self.world, Text::default());
        for (id, host) in world.processes.iter().enumerate() {
            host.set_time(world.now);
            let (now, first) = (host.clock.now(), 3 * id as u8);
            let mut lock = String::new();
            let mut slots = host.wards.slots().all();
            slots.sort_by(|one, other| one.key.cmp(&other.key));
            for slot in &slots {
                let _ = write!(lock, "{};", slot.anatomy());
            }
            for worker in host.workers.values() {
                let is_gone = !slots.iter().any(|slot| Arc::ptr_eq(slot, &worker.slot));
                if is_gone {
                    let _ = write!(lock, "gone {};", worker.slot.anatomy());
                }
            }
            let pokes = host.pending();
            let callers: Vec<_> = host
                .callers
                .values()
                .map(|it| {
                    let waits = it.is_waiting();
                    let (lease, until) = (&it.lease, it.untold_since);
                    format!("{waits} {lease:?} {} {} {until:?}", it.owns, it.was_invalid)
                })
                .collect();
            let terms: Vec<_> =
                host.taken.values().map(|t| (t.token(), t.would_be_valid())).collect();
            let tenures: Vec<_> = host.tenures.values().map(|t| t.would_lead()).collect();
            let _ = write!(
                lock,
                "{:?} {pokes:?} {callers:?} {terms:?} {tenures:?} {:?} {:?} {:?}",
                host.wards.warden(),
                host.workers,
                host.mail,
                host.fuse
            );
            let _ = write!(lock, " {}", host.client.anatomy());
            text.add(first + 1, now, lock);
            let session = format!(
                "{:?} {} {} {:?} {} {}",
                host.session,
                host.session_number,
                host.watch_number,
                host.sessions,
                host.is_over,
                world.paused[id]
            );
            text.add(first, now, session);
            text.add(
                first + 2,
                now,
                format!("{:?}", host.watchers.as_ref().map(|it| it.machine())),
            );
            let (cut, denied) = (self.is_cut(id), world.server.lacking[id]);
            let times = (world.disturbed[id], world.runs_since[id]);
            text.add(first, world.now, format!("{cut} {denied:?} {times:?}"));
        }
        self.messages(&mut text);
        let engine = without_generators(&format!("{:?}", world.server.api.engine));
        text.add(255, world.now, engine);
        let server = &world.server;
        text.add(
            255,
            world.now,
            format!(
                "{:?} {:?} {:?} {:?} {:?} {} {:?}",
                server.locks,
                server.has_denied,
                server.snapshot,
                world.invariants,
                world.elections,
                world.restored,
                self.left
            ),
        );
        text
    }

    /// Adds the messages under way, the time limits and the waiting readers.
    fn messages(&self, text: &mut Text) {
        let world = &self.world;
        let mut lines: Vec<(u8, String)> = Vec::new();
        let group = |exchange: &Exchange| 3 * exchange.process as u8 + kind(&exchange.question);
        for flight in self.flights() {
            let waits = world.waiting.contains_key(&flight.exchange.id);
            let line = format!("{waits} {} {:?}", describe(&flight.exchange), flight.reply);
            lines.push((group(&flight.exchange), format!("{line} {}", flight.is_late)));
        }
        for ((at, _), event) in &world.events {
            if let Event::Timeout(exchange) = event {
                lines.push((group(exchange), format!("{at:?} {}", describe(exchange))));
            }
        }
        for (parked, exchange) in world.server.parked.values() {
            lines.push((group(exchange), format!("{parked:?} {}", describe(exchange))));
        }
        lines.sort();
        for (group, line) in lines {
            text.add(group, world.now, line);
        }
    }
}

/// The machine that a question belongs to.
fn kind(question: &Question) -> u8 {
    match question {
        Question::Lock { .. }
        | Question::LockAll { .. }
        | Question::Join { .. }
        | Question::Leave { .. }
        | Question::ListHolders { .. }
        | Question::Prune { .. }
        | Question::Write { .. }
        | Question::Release { .. }
        | Question::Read { .. }
        | Question::AskSession { .. } => 1,
        Question::Watch { .. } | Question::Prefix { .. } => 2,
        _ => 0,
    }
}

fn describe(exchange: &Exchange) -> String {
    let ticket = match &exchange.question {
        Question::Create { ticket, .. }
        | Question::Renew { ticket, .. }
        | Question::Destroy { ticket, .. }
        | Question::DeleteFence { ticket, .. }
        | Question::Raise { ticket, .. }
        | Question::ReadFence { ticket, .. }
        | Question::List { ticket, .. }
        | Question::ListFences { ticket, .. }
        | Question::Join { ticket, .. }
        | Question::Leave { ticket, .. }
        | Question::ListHolders { ticket, .. }
        | Question::Prune { ticket, .. }
        | Question::Write { ticket, .. }
        | Question::Release { ticket, .. }
        | Question::Read { ticket, .. }
        | Question::AskSession { ticket, .. }
        | Question::Watch { read: ticket, .. }
        | Question::Prefix { read: ticket, .. } => *ticket,
        Question::Lock { locks, .. } => {
            locks.first().map_or(Ticket(0), |(_, waiter)| waiter.ticket)
        }
        Question::LockAll { slots, .. } => slots.first().map_or(Ticket(0), |(_, ticket)| *ticket),
        Question::DeleteFences { .. } => Ticket(0),
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
