//! The guarantees, checked whenever the user's code runs.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::SystemTime,
};

use tokio::time::Instant;

use super::super::every::Turn;
use crate::{
    consul::session_name::service_of, embedded::Embedded, holding::term::Term, token::FencingToken,
};

/// The key of the leadership.
pub(super) const JOB: &str = "job";

/// What a history reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    Turn,
    WorkEndedAfterItsTerm,
    WorkEndedInItsTerm,
    /// Another process works in a later term.
    Succeeded,
    Panic,
    ActorRefusesToStop,
    ActorStopsByItself,
    LeaderStopped,
    LeaderCutOff,
    LeaderKilled,
    LeaderResigns,
    LeaderHandsOver,
    LeaderShutsDown,
    RepliesLate,
    AgentFrozen,
    AgentRestarted,
    SessionEnded,
    HandedOver,
    ShutDown,
}

impl Reached {
    pub(super) const ALL: [Self; 19] = [
        Self::Turn,
        Self::WorkEndedAfterItsTerm,
        Self::WorkEndedInItsTerm,
        Self::Succeeded,
        Self::Panic,
        Self::ActorRefusesToStop,
        Self::ActorStopsByItself,
        Self::LeaderStopped,
        Self::LeaderCutOff,
        Self::LeaderKilled,
        Self::LeaderResigns,
        Self::LeaderHandsOver,
        Self::LeaderShutsDown,
        Self::RepliesLate,
        Self::AgentFrozen,
        Self::AgentRestarted,
        Self::SessionEnded,
        Self::HandedOver,
        Self::ShutDown,
    ];
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The latest term in which work was seen, and its process.
    latest: Option<(FencingToken, String)>,
    /// The due time of the latest turn.
    due: Option<SystemTime>,
    worked_at: Option<Instant>,
    /// The processes in which a part of the work lives.
    living: BTreeSet<String>,
    /// The processes whose work has stopped for good.
    stopped: BTreeSet<String>,
    pub(super) reached: BTreeMap<Reached, u64>,
    /// The first guarantee that was broken.
    pub(super) wrong: Option<String>,
}

/// Sees all work of a history.
#[derive(Clone)]
pub(super) struct Witness {
    consul: Embedded,
    seen: Rc<RefCell<Seen>>,
}

impl Witness {
    pub(super) fn new(consul: &Embedded) -> Self {
        Self { consul: consul.clone(), seen: Rc::default() }
    }

    pub(super) fn seen(&self) -> RefMut<'_, Seen> {
        self.seen.borrow_mut()
    }

    pub(super) fn reach(&self, what: Reached) {
        *self.seen().reached.entry(what).or_default() += 1;
    }

    pub(super) fn wrong(&self, what: impl FnOnce() -> String) {
        self.seen().wrong.get_or_insert_with(what);
    }

    /// When work was last seen.
    pub(super) fn worked_at(&self) -> Option<Instant> {
        self.seen().worked_at
    }

    /// The user's code runs in this term of that process.
    pub(super) fn works(&self, process: &str, term: &Term) {
        let token = term.token();
        if !term.is_valid() {
            self.wrong(|| format!("{process} works after its term {token}"));
        }
        if let Some(holder) = self.holder().filter(|holder| holder != process) {
            self.wrong(|| format!("{process} works in {token}, and {holder} has the key"));
        }
        if self.seen().stopped.contains(process) {
            self.wrong(|| format!("{process} works after it has stopped its work"));
        }
        let former = {
            let seen = &mut *self.seen();
            seen.worked_at = Some(Instant::now());
            seen.latest.replace((token, process.to_owned()))
        };
        let Some((last, other)) = former else { return };
        let is_same = other == process;
        if last > token || (last == token && !is_same) {
            self.wrong(|| format!("{process} works in {token} after {other} has worked in {last}"));
        } else if !is_same {
            self.reach(Reached::Succeeded);
        }
    }

    /// A part of the work begins to live in that process.
    pub(super) fn lives(&self, process: &str) {
        if !self.seen().living.insert(process.to_owned()) {
            self.wrong(|| format!("two parts of the work live in {process}"));
        }
    }

    /// The part of the work is no more.
    pub(super) fn is_gone(&self, process: &str, term: &Term) {
        self.seen().living.remove(process);
        let (over, early) = (Reached::WorkEndedAfterItsTerm, Reached::WorkEndedInItsTerm);
        self.reach(if term.is_valid() { early } else { over });
    }

    /// The runtime says that it has handed over: its work has stopped for good.
    pub(super) fn has_handed_over(&self, process: &str) {
        self.reach(Reached::HandedOver);
        self.seen().stopped.insert(process.to_owned());
        if self.seen().living.contains(process) {
            self.wrong(|| format!("work lives in {process} after its hand-over"));
        }
    }

    /// The runtime says that it has ended in good order.
    pub(super) fn has_shut_down(&self, process: &str) {
        self.reach(Reached::ShutDown);
        if self.holder().is_some_and(|holder| holder == process) {
            self.wrong(|| format!("{process} has shut down and has the key"));
        }
    }

    /// A turn begins in that process.
    pub(super) fn begins(&self, process: &str, turn: &Turn) {
        self.works(process, turn.term());
        self.reach(Reached::Turn);
        let due = turn.due();
        let former = self.seen().due.replace(due);
        if let Some(former) = former.filter(|former| *former >= due) {
            self.wrong(|| format!("{process} has a turn that was due {due:?} after {former:?}"));
        }
    }

    /// The service whose session has the key.
    pub(super) fn holder(&self) -> Option<String> {
        let entry = self.consul.entries().into_iter().find(|entry| entry.key == JOB)?;
        let session = entry.session?;
        let session = self.consul.sessions().into_iter().find(|it| it.id == session)?;
        Some(service_of(&session.name).to_owned())
    }
}
