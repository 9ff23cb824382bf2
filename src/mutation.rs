//! Mutations: deliberate protocol bugs that the simulation must detect.

use std::cell::Cell;

/// A broken protocol rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The lease is counted from the response.
    LeaseFromResponse,
    /// The deadline is twice the TTL, which is how Consul's servers happen to behave.
    DoubleTtlAsDeadline,
    /// The lease is longer than the lock-delay.
    LockDelayLeftOut,
    /// A renewal extends a deadline that has passed.
    CellRevived,
    /// A late "locked" answer is believed although its attempt was abandoned.
    LateLockedBelieved,
    /// The answer to an older attempt is taken for the current attempt's.
    StaleTicketGranted,
    /// A release frees the key whatever the index at which our session holds it.
    ReleaseUnfenced,
    /// A release of unknown outcome counts as done, and the key may be won again
    /// at the same index.
    RegrantAtSameIndex,
    /// A loss is published after its session was destroyed and replaced.
    LossToldAfterRetry,
    /// The token comes from Consul's `LockIndex`.
    TokenFromLockIndex,
    /// A slot is removed while one of its writes is in flight.
    SlotForgotten,
    /// A key has two slots.
    SlotTwice,
    /// The work of a term continues after the resignation.
    TermOutlivesResignation,
    /// A deposition is published after its consequences have begun.
    DeposedToldLate,
    /// A candidate that resigned contends again at once.
    CoolDownForgotten,
    /// The session may be destroyed before its losses are published.
    SessionGoesUntold,
    /// A slot is reaped because of an outdated offer by its actor.
    StaleOfferTaken,
    /// A shutdown destroys the session before the keys are released.
    SessionStopsFirst,
    /// A suspect session is replaced while a key is owned under it.
    SuspectReplacedEarly,
    /// A lock reports once that its session is suspect, even if its actor died then.
    SuspicionNotRepeated,
    /// The session of a dead actor is not destroyed.
    LeftBehindForgotten,
    /// Locks are not notified that their watches died.
    WatchLossUntold,
    /// A lock does not void its attempts after its actor died.
    RecoveredUnclean,
    /// The error texts of a failed transaction are searched for words that a key's name
    /// may also contain.
    ErrorsSearched,
    /// A take-over that was never sent forgets its leftover lock.
    LeftoverForgotten,
    /// A possible leftover is forgotten when reading its key is denied.
    DeniedReadForgotten,
    /// A grant below an ended ownership's index is released and retried, instead of
    /// being taken as proof of another store.
    OtherStoreIgnored,
    /// A session is shared before its fence exists: the first attempts check that there
    /// is none.
    LentUnfenced,
    /// User code is polled once more after the end of its lease or term.
    WorkOutlivesTerm,
    /// A job's due time is free although a turn of it is recorded.
    TurnRepeated,
    /// A release that ends an ownership is not published.
    EndUnpublished,
    /// A transaction of several locks is sent again although its outcome is unknown.
    BatchSentAgain,
    /// A lock that failed only because of another in its transaction is never answered.
    BatchSurvivorForgotten,
    /// A process that is refused a connection does not give others room.
    RefusalIgnored,
    /// A write under a lock does not check the index of its ownership.
    WriteUnfenced,
    /// An ownership that was written under is handed over within the process.
    WrittenHandedOver,
    /// A set is locked although one of its keys is not offered.
    SetTakenPartly,
    /// One key of a set is handed over to the set's caller.
    SetHandedOneKey,
    /// A set's caller that goes away leaves only one of its queues.
    SetPartlyLeft,
    /// A set is released only in part.
    SetPartlyReleased,
    /// A key that was taken away from its holder is not kept for its lease.
    TakenUnkept,
    /// A permit is taken without a check that nobody else took it meanwhile.
    PermitCountedTwice,
    /// An ended holder of a permit is removed before its lock-delay has passed.
    PrunedEarly,
}

thread_local! {
    static PRESENT: Cell<Option<Mutation>> = const { Cell::new(None) };
}

impl Mutation {
    /// The mutations that the simulation must find in every run. It runs no user code:
    /// `WorkOutlivesTerm` and `TurnRepeated` are found by `work/tests.rs`.
    pub(crate) const ALL: [Self; 41] = [
        Self::LeaseFromResponse,
        Self::DoubleTtlAsDeadline,
        Self::LockDelayLeftOut,
        Self::CellRevived,
        Self::LateLockedBelieved,
        Self::StaleTicketGranted,
        Self::ReleaseUnfenced,
        Self::RegrantAtSameIndex,
        Self::LossToldAfterRetry,
        Self::TokenFromLockIndex,
        Self::SlotForgotten,
        Self::SlotTwice,
        Self::TermOutlivesResignation,
        Self::DeposedToldLate,
        Self::CoolDownForgotten,
        Self::SessionGoesUntold,
        Self::StaleOfferTaken,
        Self::SessionStopsFirst,
        Self::SuspectReplacedEarly,
        Self::SuspicionNotRepeated,
        Self::LeftBehindForgotten,
        Self::WatchLossUntold,
        Self::RecoveredUnclean,
        Self::ErrorsSearched,
        Self::LeftoverForgotten,
        Self::DeniedReadForgotten,
        Self::OtherStoreIgnored,
        Self::LentUnfenced,
        Self::EndUnpublished,
        Self::BatchSentAgain,
        Self::BatchSurvivorForgotten,
        Self::RefusalIgnored,
        Self::WriteUnfenced,
        Self::WrittenHandedOver,
        Self::SetTakenPartly,
        Self::SetHandedOneKey,
        Self::SetPartlyLeft,
        Self::SetPartlyReleased,
        Self::TakenUnkept,
        Self::PermitCountedTwice,
        Self::PrunedEarly,
    ];

    /// The mutation that `DSYNC_MUTATION` names.
    pub(crate) fn asked_for() -> Option<Self> {
        let name = std::env::var("DSYNC_MUTATION").ok()?;
        let named = |it: &Self| format!("{it:?}") == name;
        Some(Self::ALL.into_iter().find(named).expect("the name of a mutation"))
    }

    /// Sets the mutation of this thread's machines; `None` restores correct behaviour.
    pub(crate) fn choose(mutation: Option<Self>) {
        PRESENT.set(mutation);
    }

    /// Whether this mutation is active.
    pub(crate) fn is_chosen(self) -> bool {
        PRESENT.get() == Some(self)
    }
}
