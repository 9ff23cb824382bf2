//! This process's ownership of the key in Consul.

use std::{sync::Arc, time::Duration};

use super::line::CallId;
use crate::{
    clock::Moment,
    ownership::{Holder, LossReason},
    protocol::cell::DeadlineCell,
    token::{Era, FencingToken},
};

/// An ownership, and the caller that has it.
#[derive(Debug)]
pub(super) struct Owned {
    era: Era,
    index: u64,
    since: Moment,
    sequence: u16,
    standing: Standing,
    /// A write under it was sent, and may reach Consul late. Consul cannot tell two callers
    /// of one ownership apart, so it is not handed over.
    pub(super) written: bool,
    cell: Arc<DeadlineCell>,
    /// This process, as a holder.
    pub(super) holder: Box<Holder>,
}

/// Who has an ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A caller.
    Granted(CallId),
    /// Still this caller, but the ownership has ended for an unknown reason.
    Revoked(CallId),
    /// Nobody: it is being released.
    Released,
    /// Nobody: it is being released, and its end was already reported.
    Surrendered,
}

/// How an ownership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A caller lost its lease.
    Lost(FencingToken),
    /// The last caller had already released it.
    Released(FencingToken),
}

/// The limits on local hand-overs, after which other processes get a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    pub(crate) longest: Duration,
    pub(crate) most: u16,
}

impl Default for HandOver {
    fn default() -> Self {
        Self { longest: Duration::from_millis(50), most: 50_000 }
    }
}

impl Owned {
    /// An ownership since now, which no caller has yet.
    pub(super) fn new(
        now: Moment,
        era: Era,
        index: u64,
        cell: Arc<DeadlineCell>,
        holder: Box<Holder>,
    ) -> Self {
        let standing = Standing::Released;
        Self { era, index, since: now, sequence: 0, standing, written: false, cell, holder }
    }

    /// The token of the caller that has it, or had it last.
    pub(super) fn token(&self) -> Option<FencingToken> {
        FencingToken::new(self.index, self.sequence).map(|token| token.in_era(self.era))
    }

    /// The caller that has it, if it was not revoked.
    pub(super) fn granted(&self) -> Option<CallId> {
        match self.standing {
            Standing::Granted(call) => Some(call),
            Standing::Revoked(_) | Standing::Released | Standing::Surrendered => None,
        }
    }

    /// The caller that has it, even if it was revoked.
    pub(super) fn caller(&self) -> Option<CallId> {
        match self.standing {
            Standing::Granted(call) | Standing::Revoked(call) => Some(call),
            Standing::Released | Standing::Surrendered => None,
        }
    }

    /// Gives it to a caller.
    pub(super) fn grant(&mut self, call: CallId) {
        self.standing = Standing::Granted(call);
    }

    /// Takes it from its caller, which releases it.
    pub(super) fn give_back(&mut self) {
        self.standing = Standing::Released;
    }

    /// It has ended; the reason is still unknown. Returns its caller.
    pub(super) fn revoke(&mut self) -> Option<CallId> {
        let call = self.caller()?;
        self.standing = Standing::Revoked(call);
        Some(call)
    }

    /// Takes it from its caller, whose loss is reported. Returns the caller and its token.
    pub(super) fn surrender(&mut self) -> Option<(CallId, FencingToken)> {
        let lost = (self.caller()?, self.token()?);
        self.standing = Standing::Surrendered;
        Some(lost)
    }

    /// Counts one more hand-over, if the limits and the writes under it allow that.
    pub(super) fn pass_on(&mut self, now: Moment, limits: HandOver, written: bool) -> bool {
        let allowed = now.since(self.since) < limits.longest && self.sequence < limits.most;
        let allowed = allowed && !written;
        self.sequence += u16::from(allowed);
        allowed
    }

    /// Why its deadline counts as passed, if it has.
    pub(super) fn expired(&self, now: Moment) -> Option<LossReason> {
        (!self.cell.is_valid(now)).then(|| self.expiry())
    }

    /// The reason of a loss that nobody noticed before.
    pub(super) fn expiry(&self) -> LossReason {
        self.cell.ended().unwrap_or(LossReason::DeadlinePassed)
    }

    /// Why its caller's lease has ended, if it has ended other than by its release. Until
    /// the reason is known, a key that is no longer ours counts as released by force.
    pub(super) fn overdue(&self, now: Moment) -> Option<LossReason> {
        let call = self.caller()?;
        if !self.cell.is_valid(now) {
            return self.cell.ended();
        }
        (self.standing == Standing::Revoked(call)).then_some(LossReason::ForceReleased)
    }

    /// How it ended, unless that was already reported.
    pub(super) fn end(&self) -> Option<End> {
        let token = self.token()?;
        match self.standing {
            Standing::Granted(_) | Standing::Revoked(_) => Some(End::Lost(token)),
            Standing::Released => Some(End::Released(token)),
            Standing::Surrendered => None,
        }
    }
}
