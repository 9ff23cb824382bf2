//! What a run of many histories must reach, so that it proves something.
//!
//! Each step counts what it reached: faults, questions, answers, the phases of locks, the
//! reasons of losses. A run of [`ENOUGH`] histories fails if it never reached one of them.

use std::collections::BTreeMap;

use super::{
    question::{Fact, Question},
    report::Stats,
};
use crate::{
    consul::fact::{
        Created, Destroyed, Locked, Pruned, Raised, Released, Renewed, Seen, SessionSeen,
    },
    holding::{keeping::SessionQuestion, slot_question::SlotQuestion},
    ownership::{KeyState, LossReason},
    protocol::{lock, permit, session, watch},
};

/// So many histories must reach everything.
pub(super) const ENOUGH: u64 = 5_000;

const FAULTS: [&str; 50] = [
    "(write under a lock)",
    "a lock's actor died",
    "agent left",
    "answer from the past",
    "check failed",
    "connection refused by a full agent",
    "connections refused",
    "crash",
    "election",
    "election, requests held",
    "fence entries meddled with",
    "fences denied after lost locks",
    "foreign flags",
    "key deleted",
    "key edited",
    "key released by force",
    "late lock withheld",
    "lock taken away",
    "partition",
    "partition of replies",
    "partition of requests",
    "pause",
    "raft index jumps",
    "reads denied after lost locks",
    "refused",
    "reply cut off",
    "reply lost",
    "reply slow",
    "reply to a lock late",
    "reply to a lock lost",
    "request cut off",
    "request duplicated",
    "request late",
    "request lost",
    "request never sent",
    "request slow",
    "right withdrawn",
    "semaphore edited",
    "servers restarted",
    "servers restarted empty",
    "session destroyed",
    "session destroyed after a slow renewal",
    "session destroyed behind news",
    "set asked anew",
    "shutdown",
    "snapshot restored",
    "the session's actor died",
    "the supervisor died",
    "the watch actor died",
    "value overwritten",
];

const QUESTIONS: [&str; 21] = [
    "ask: create session",
    "ask: renew session",
    "ask: destroy session",
    "ask: delete fence",
    "ask: raise fence",
    "ask: read fence",
    "ask: list sessions",
    "ask: list fences",
    "ask: delete stale fences",
    "ask: lock",
    "ask: lock a set",
    "ask: write",
    "ask: join a semaphore",
    "ask: leave a semaphore",
    "ask: list holders",
    "ask: prune holders",
    "ask: release",
    "ask: read",
    "ask: session info",
    "ask: watch",
    "ask: list keys",
];

const ANSWERS: [&str; 41] = [
    "created",
    "create denied",
    "create unknown",
    "renewed",
    "renewed: gone",
    "renew denied",
    "renew unknown",
    "destroyed",
    "destroy denied",
    "destroy unknown",
    "raised",
    "raise stale",
    "raise denied",
    "raise unknown",
    "locked",
    "lock: changed",
    "lock delayed",
    "lock fenced off",
    "lock: session gone",
    "lock denied",
    "lock: fence denied",
    "lock unsent",
    "lock unknown",
    "released",
    "release: fence failed",
    "release denied",
    "release unknown",
    "pruned",
    "prune: stale",
    "prune denied",
    "prune unknown",
    "read: found",
    "read: missing",
    "read denied",
    "read unknown",
    "watched",
    "session info",
    "session not shown",
    "session info denied",
    "session info unknown",
    "fence read",
];

const PHASES: [&str; 10] = [
    "phase idle",
    "phase held",
    "phase no session",
    "phase trying",
    "phase waiting",
    "phase pausing",
    "phase unclear",
    "phase losing",
    "phase releasing",
    "phase observing",
];

/// The reasons of lost leases. Only terms end with a resignation, and only a copy of a request's
/// lease shows its release.
fn reasons() -> impl Iterator<Item = String> {
    let others = [LossReason::Resigned, LossReason::Released];
    let of_leases = LossReason::ALL.into_iter().filter(move |it| !others.contains(it));
    of_leases.map(|reason| format!("{reason:?}"))
}

/// What so many histories never reached.
pub(super) fn missed(stats: &Stats) -> Vec<String> {
    let unseen = |counts: &BTreeMap<&str, u64>, name: &&&str| !counts.contains_key(**name);
    let faults = FAULTS.iter().filter(|name| unseen(&stats.faults, name));
    let others = QUESTIONS.iter().chain(&ANSWERS).chain(&PHASES);
    let others = others.filter(|name| unseen(&stats.reached, name));
    let missed = faults.chain(others).map(|name| (*name).to_owned());
    missed.chain(reasons().filter(|reason| !stats.reasons.contains_key(reason))).collect()
}

/// What was counted and is on none of the lists, so that nobody would notice if it were no
/// longer reached.
pub(super) fn unlisted(stats: &Stats) -> Vec<&'static str> {
    let lists = [&FAULTS[..], &QUESTIONS, &ANSWERS, &PHASES];
    let counted = stats.faults.keys().chain(stats.reached.keys()).copied();
    counted.filter(|name| !lists.iter().any(|list| list.contains(name))).collect()
}

pub(super) fn question(question: &Question) -> &'static str {
    match question {
        Question::Session(SessionQuestion::Create { .. }) => "ask: create session",
        Question::Session(SessionQuestion::Renew { .. }) => "ask: renew session",
        Question::Session(SessionQuestion::Destroy { .. }) => "ask: destroy session",
        Question::Session(SessionQuestion::DeleteFence { .. }) => "ask: delete fence",
        Question::Session(SessionQuestion::Raise { .. }) => "ask: raise fence",
        Question::Session(SessionQuestion::ReadFence { .. }) => "ask: read fence",
        Question::Session(SessionQuestion::List { .. }) => "ask: list sessions",
        Question::Session(SessionQuestion::ListFences { .. }) => "ask: list fences",
        Question::Session(SessionQuestion::DeleteFences { .. }) => "ask: delete stale fences",
        Question::Lock { .. } => "ask: lock",
        Question::LockAll { .. } => "ask: lock a set",
        Question::Slot(_, SlotQuestion::Join { .. }) => "ask: join a semaphore",
        Question::Slot(_, SlotQuestion::Leave { .. }) => "ask: leave a semaphore",
        Question::Slot(_, SlotQuestion::ListHolders { .. }) => "ask: list holders",
        Question::Slot(_, SlotQuestion::Prune { .. }) => "ask: prune holders",
        Question::Slot(_, SlotQuestion::Write { .. }) => "ask: write",
        Question::Slot(_, SlotQuestion::Release { .. }) => "ask: release",
        Question::Slot(_, SlotQuestion::Read { .. }) => "ask: read",
        Question::Slot(_, SlotQuestion::AskSession { .. }) => "ask: session info",
        Question::Watch { .. } => "ask: watch",
        Question::Prefix { .. } => "ask: list keys",
    }
}

pub(super) fn phase(state: KeyState) -> Option<&'static str> {
    Some(match state {
        KeyState::Idle => "phase idle",
        KeyState::Held => "phase held",
        KeyState::NoSession => "phase no session",
        KeyState::Trying => "phase trying",
        KeyState::Waiting => "phase waiting",
        KeyState::Pausing => "phase pausing",
        KeyState::Unclear => "phase unclear",
        KeyState::Losing => "phase losing",
        KeyState::Releasing => "phase releasing",
        KeyState::Observing => "phase observing",
        // Only for sets.
        KeyState::Gathering => return None,
    })
}

/// The name of an answer, if it is counted.
pub(super) fn answer(fact: &Fact) -> Option<&'static str> {
    match fact {
        Fact::Session(event) => of_session(event),
        Fact::Slot(_, permit::Event::Lock(event)) => of_lock(event),
        Fact::Locked { answers, .. } => {
            answers.first().and_then(|(_, answer)| answer.as_ref()).and_then(of_locked)
        }
        Fact::Watch(watch::Event::Seen { .. }) => Some("watched"),
        Fact::Slot(_, event) => of_semaphore(event),
        Fact::Locks(_) | Fact::Watch(_) | Fact::Nothing => None,
    }
}

fn of_session(event: &session::Event) -> Option<&'static str> {
    use session::Event;
    Some(match event {
        Event::Created { answer, .. } => match answer {
            Created::Session(_) => "created",
            // No server here refuses a TTL.
            Created::TtlRefused(_) => return None,
            Created::Denied(_) => "create denied",
            Created::Unknown(_) => "create unknown",
        },
        Event::Renewed { answer, .. } => match answer {
            Renewed::Alive { .. } => "renewed",
            Renewed::Gone => "renewed: gone",
            Renewed::Denied(_) => "renew denied",
            Renewed::Unknown(_) => "renew unknown",
        },
        Event::Destroyed { answer, .. } => match answer {
            Destroyed::Done => "destroyed",
            Destroyed::Denied(_) => "destroy denied",
            Destroyed::Unknown(_) => "destroy unknown",
        },
        Event::Raised { answer, .. } => match answer {
            Raised::At(_) => "raised",
            Raised::Stale => "raise stale",
            Raised::Denied(_) => "raise denied",
            Raised::Unknown(_) => "raise unknown",
        },
        Event::FenceRead { .. } => "fence read",
        _ => return None,
    })
}

fn of_lock(event: &lock::Event) -> Option<&'static str> {
    use lock::Event;
    Some(match event {
        Event::Locked { answer, .. } => return of_locked(answer),
        Event::Released { answer, .. } => match answer {
            Released::Done => "released",
            Released::FenceFailed => "release: fence failed",
            Released::Denied(_) => "release denied",
            Released::Unknown(_) => "release unknown",
        },
        Event::Read { answer, .. } => match answer {
            Seen::Found { .. } => "read: found",
            Seen::Missing { .. } => "read: missing",
            Seen::Denied(_) => "read denied",
            // Only a malformed request is refused.
            Seen::NameRefused(_) => return None,
            Seen::Unknown(_) => "read unknown",
        },
        Event::SessionSeen { answer, .. } => match answer {
            SessionSeen::Exists { .. } => "session info",
            SessionSeen::NotShown => "session not shown",
            SessionSeen::Denied(_) => "session info denied",
            SessionSeen::Unknown(_) => "session info unknown",
        },
        _ => return None,
    })
}

fn of_semaphore(event: &permit::Event) -> Option<&'static str> {
    let permit::Event::Pruned { answer, .. } = event else { return None };
    Some(match answer {
        Pruned::Done => "pruned",
        Pruned::Stale => "prune: stale",
        Pruned::Denied(_) => "prune denied",
        Pruned::Unknown(_) => "prune unknown",
    })
}

fn of_locked(answer: &Locked) -> Option<&'static str> {
    Some(match answer {
        Locked::At(_) => "locked",
        Locked::Changed => "lock: changed",
        Locked::Delayed => "lock delayed",
        Locked::Fenced => "lock fenced off",
        Locked::SessionGone => "lock: session gone",
        Locked::Denied(_) => "lock denied",
        Locked::FenceDenied(_) => "lock: fence denied",
        // Only a malformed request is refused; the others concern sets and batches.
        Locked::Refused(_) | Locked::Aside | Locked::AsideUnsent(_) | Locked::Withdrawn => {
            return None;
        }
        // The check before the lock fails first, unless somebody meddles.
        Locked::Held => return None,
        Locked::Unsent(_) => "lock unsent",
        Locked::Unknown(_) => "lock unknown",
    })
}
