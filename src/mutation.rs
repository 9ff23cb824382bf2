//! What the machines can be made to get wrong on purpose, so that the simulation
//! can show that it would notice.

use std::cell::Cell;

/// One rule of the protocol, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The lease counts from the response.
    LeaseFromResponse,
    /// Twice the TTL is the deadline, as Consul's servers happen to behave.
    DoubleTtlAsDeadline,
    /// The lease is longer than the lock-delay.
    LockDelayLeftOut,
    /// A renewal extends a deadline that has passed.
    CellRevived,
    /// A "locked" is believed although its attempt was given up.
    LateLockedBelieved,
    /// The answer to an older attempt is taken for the present one's.
    StaleTicketGranted,
    /// A release frees the key at whatever index our session holds it.
    ReleaseUnfenced,
    /// A release of unknown outcome counts as done, and the key may be won again
    /// at the same index.
    RegrantAtSameIndex,
    /// A loss is told after its session was destroyed and replaced.
    LossToldAfterRetry,
    /// The token comes from Consul's `LockIndex`.
    TokenFromLockIndex,
    /// A slot is given up while a write of it is under way.
    SlotForgotten,
    /// A key has two slots.
    SlotTwice,
    /// The work of a term goes on after the resignation.
    TermOutlivesResignation,
    /// A deposition is told after what follows from it has begun.
    DeposedToldLate,
    /// Who resigned contends again at once.
    CoolDownForgotten,
    /// The session may go before its losses are published.
    SessionGoesUntold,
    /// A slot is reaped because its actor once offered to go.
    StaleOfferTaken,
    /// A shutdown destroys the session before the keys are given back.
    SessionStopsFirst,
    /// A suspect session is replaced while something is owned under it.
    SuspectReplacedEarly,
    /// The session of an actor that died is not destroyed.
    LeftBehindForgotten,
    /// Locks do not hear that their watches died.
    WatchLossUntold,
    /// A lock whose actor died does not make its attempts void.
    RecoveredUnclean,
    /// A failed transaction's texts are searched for words, which a key's name may
    /// hold as well.
    ErrorsSearched,
    /// A take-over that was never sent forgets what it was to take over.
    LeftoverForgotten,
    /// What may have been locked and may not be read is forgotten.
    DeniedReadForgotten,
    /// A grant below an ended ownership's index is given back and tried again.
    OtherStoreIgnored,
    /// A session is lent before its fence stands: the first attempts check that there
    /// is none.
    LentUnfenced,
    /// A release that ends an ownership is not published.
    EndUnpublished,
}

thread_local! {
    static PRESENT: Cell<Option<Mutation>> = const { Cell::new(None) };
}

impl Mutation {
    /// Those that the simulation must find. Not among them, since no history showed
    /// them yet: `LeftoverForgotten`, `DeniedReadForgotten` and `OtherStoreIgnored`,
    /// whose rules unit tests of the lock machine protect.
    pub(crate) const ALL: [Self; 25] = [
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
        Self::LeftBehindForgotten,
        Self::WatchLossUntold,
        Self::RecoveredUnclean,
        Self::ErrorsSearched,
        Self::LentUnfenced,
        Self::EndUnpublished,
    ];

    /// Makes the machines of this thread get this wrong, or nothing.
    pub(crate) fn choose(mutation: Option<Self>) {
        PRESENT.set(mutation);
    }

    /// Whether this is what is to go wrong.
    pub(crate) fn is_chosen(self) -> bool {
        PRESENT.get() == Some(self)
    }
}
