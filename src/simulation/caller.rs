//! One caller of a process: waits, holds, releases, or leaves.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use futures::FutureExt as _;
use tokio::sync::oneshot::error::TryRecvError;

use crate::{
    clock::Moment,
    error::Error,
    holding::{callers::Grant, lease_state::LeaseState, slot::Slot, slots::Entered},
    key::Key,
    ownership::Released,
    protocol::seat::Kind,
    token::FencingToken,
};

/// How a caller ends its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Release,
    Drop,
}

/// A caller's plan, in world time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conduct {
    pub(super) patient: bool,
    /// It does not poll its answer before this.
    pub(super) looks_at: Moment,
    pub(super) gives_up_at: Option<Moment>,
    pub(super) hold: std::time::Duration,
    pub(super) ending: Ending,
    /// Whether it releases an invalid lease as soon as it notices.
    pub(super) heedful: bool,
}

impl Conduct {
    /// The plan of the callers that come after all faults: each holds briefly.
    pub(super) fn at_the_end(now: Moment) -> Self {
        Self {
            patient: true,
            looks_at: now,
            gives_up_at: None,
            hold: std::time::Duration::from_millis(20),
            ending: Ending::Release,
            heedful: true,
        }
    }
}

pub(super) struct Caller {
    entered: Option<Entered>,
    pub(super) key: Key,
    slot: Arc<Slot>,
    pub(super) conduct: Conduct,
    pub(super) asked_at: Moment,
    pub(super) lease: Option<Grant>,
    /// The number of its lease's ownership.
    pub(super) owns: u64,
    /// Its lease was seen to be invalid.
    pub(super) was_invalid: bool,
    pub(super) holds_until: Option<Moment>,
    /// Since when its lease has been invalid without a reported loss.
    pub(super) untold_since: Option<Moment>,
    confirmation: Option<Pin<Box<dyn Future<Output = Released>>>>,
    /// It has finished, with or without a lease.
    done: bool,
}

/// The result of polling a caller.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    Granted(Arc<LeaseState>),
    Refused(Error),
    /// The channel closed without the required answer.
    Deserted,
    Confirmed(Released),
}

impl Caller {
    pub(super) fn new(entered: Entered, conduct: Conduct, now: Moment) -> Self {
        Self {
            key: entered.slot.key.clone(),
            slot: entered.slot.clone(),
            entered: Some(entered),
            conduct,
            asked_at: now,
            lease: None,
            owns: 0,
            was_invalid: false,
            holds_until: None,
            untold_since: None,
            confirmation: None,
            done: false,
        }
    }

    /// A caller that was granted one key of a set.
    pub(super) fn granted(slot: Arc<Slot>, lease: Grant, conduct: Conduct, now: Moment) -> Self {
        Self {
            key: slot.key.clone(),
            slot,
            entered: None,
            conduct,
            asked_at: now,
            lease: Some(lease),
            owns: 0,
            was_invalid: false,
            holds_until: Some(now + conduct.hold),
            untold_since: None,
            confirmation: None,
            done: false,
        }
    }

    /// What it uses the key for.
    pub(super) fn kind(&self) -> Kind {
        self.slot.kind()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.entered.is_some()
    }

    /// Whether it waits for the key or holds it.
    pub(super) fn wants(&self) -> bool {
        self.entered.is_some() || self.lease.is_some()
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Polls for an answer.
    pub(super) fn look(&mut self, now: Moment) -> Found {
        if let Some(confirmation) = &mut self.confirmation {
            return match confirmation.now_or_never() {
                Some(released) => {
                    self.confirmation = None;
                    self.done = true;
                    Found::Confirmed(released)
                }
                None => Found::Nothing,
            };
        }
        let Some(entered) = self.entered.as_mut().filter(|_| self.conduct.looks_at <= now) else {
            return Found::Nothing;
        };
        let answer = match entered.answer.try_recv() {
            Err(TryRecvError::Empty) => return Found::Nothing,
            Err(TryRecvError::Closed) => {
                self.done = true;
                Found::Deserted
            }
            Ok(Ok(grant)) => {
                let state = grant.state().clone();
                self.lease = Some(grant);
                self.holds_until = Some(now + self.conduct.hold);
                Found::Granted(state)
            }
            Ok(Err(error)) => {
                self.done = true;
                Found::Refused(error)
            }
        };
        self.leave();
        answer
    }

    /// Stops waiting, like a dropped future.
    pub(super) fn leave(&mut self) {
        if let Some(entered) = self.entered.take() {
            self.slot.callers.leave(entered.call);
            if self.lease.is_none() {
                self.done = true;
            }
        }
    }

    /// Ends its lease. Returns the token, and whether this ended the ownership: if the
    /// ownership was over before the lease was dropped, a loss is reported instead.
    pub(super) fn give_back(&mut self) -> Option<(FencingToken, bool)> {
        let lease = self.lease.take()?;
        let token = lease.token();
        let ends_it = match self.conduct.ending {
            Ending::Release => {
                self.confirmation = Some(Box::pin(lease.give_back()));
                true
            }
            Ending::Drop => {
                self.done = true;
                lease.is_valid()
            }
        };
        Some((token, ends_it))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("key", &self.key)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
