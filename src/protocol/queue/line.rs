//! The callers that wait for one key, in the order of their calls.

use std::collections::VecDeque;

use crate::{
    clock::Moment,
    protocol::gather::{InLine, SetId, holds_places},
};

/// Identifies one acquisition and the lease that it may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// Whether a caller waits for another holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It does not wait.
    None,
    /// It waits until it is granted the key or leaves.
    Unlimited,
    /// As `Unlimited`, but it wants the key only with the other keys of a set, for which
    /// it has waited since then.
    Set { id: SetId, since: Moment },
}

impl Patience {
    fn is_set(self) -> bool {
        matches!(self, Self::Set { .. })
    }
}

/// The waiting callers.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: VecDeque<(CallId, Patience)>,
    /// How many of them do not wait for another holder.
    impatient: usize,
    /// How many of them want the key only with others.
    sets: usize,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many callers do not wait for another holder.
    pub(super) fn impatient(&self) -> usize {
        self.impatient
    }

    /// Whether callers wait, and all of them want the key only with others.
    pub(super) fn sets_only(&self) -> bool {
        self.sets > 0 && self.sets == self.waiting.len()
    }

    /// Adds a caller at the end. Later calls have greater numbers.
    pub(super) fn push(&mut self, call: CallId, patience: Patience) {
        self.waiting.push_back((call, patience));
        self.impatient += usize::from(patience == Patience::None);
        self.sets += usize::from(patience.is_set());
    }

    /// Removes a caller. Returns whether it waited.
    pub(super) fn remove(&mut self, call: CallId) -> bool {
        let place = self.waiting.binary_search_by_key(&call, |(waiting, _)| *waiting);
        place.ok().and_then(|place| self.take(place)).is_some()
    }

    /// Removes the caller at `place`.
    pub(super) fn take(&mut self, place: usize) -> Option<CallId> {
        let (call, patience) = self.waiting.remove(place)?;
        self.impatient -= usize::from(patience == Patience::None);
        self.sets -= usize::from(patience.is_set());
        Some(call)
    }

    /// Removes the callers to which `applies` applies, and returns them.
    pub(super) fn take_all(&mut self, applies: impl Fn(Patience) -> bool) -> Vec<CallId> {
        let mut taken = Vec::new();
        if !self.waiting.iter().any(|(_, patience)| applies(*patience)) {
            return taken;
        }
        for (call, patience) in std::mem::take(self).waiting {
            if applies(patience) {
                taken.push(call);
            } else {
                self.push(call, patience);
            }
        }
        taken
    }

    /// The first caller that wants the key alone.
    pub(crate) fn front(&self) -> Option<CallId> {
        self.get(self.first_alone()?)
    }

    /// The call of a set that waits.
    pub(crate) fn call_of(&self, set: SetId) -> Option<CallId> {
        self.get(self.place_of(set)?)
    }

    fn get(&self, place: usize) -> Option<CallId> {
        self.waiting.get(place).map(|(call, _)| *call)
    }

    /// The place of a set's caller.
    pub(super) fn place_of(&self, set: SetId) -> Option<usize> {
        let is_it = |patience| matches!(patience, Patience::Set { id, .. } if id == set);
        self.waiting.iter().position(|(_, patience)| is_it(*patience))
    }

    /// The place of the first caller that wants the key alone.
    pub(super) fn first_alone(&self) -> Option<usize> {
        if self.sets == 0 {
            return (!self.waiting.is_empty()).then_some(0);
        }
        self.waiting.iter().position(|(_, patience)| !patience.is_set())
    }

    /// The same, unless a set before it holds its place.
    pub(super) fn next_alone(&self, now: Moment) -> Option<usize> {
        let place = self.first_alone()?;
        let holds = |patience| match patience {
            Patience::Set { since, .. } => holds_places(now, since),
            Patience::None | Patience::Unlimited => false,
        };
        let mut ahead = self.waiting.iter().take(place);
        (!ahead.any(|(_, patience)| holds(*patience))).then_some(place)
    }

    /// The callers up to the first that wants the key alone.
    pub(crate) fn up_to_alone(&self) -> Vec<InLine> {
        let in_line = |(_, patience): &(CallId, Patience)| match patience {
            Patience::Set { id, .. } => InLine::Set(*id),
            Patience::None | Patience::Unlimited => InLine::Alone,
        };
        let count = self.first_alone().map_or(self.waiting.len(), |place| place + 1);
        self.waiting.iter().take(count).map(in_line).collect()
    }
}
