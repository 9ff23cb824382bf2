//! Opening a session, and how long its lease then lasts.

use std::{sync::Arc, time::Duration};

use super::{
    Open, Phase, Raise, Session, TOO_FAR,
    blocked::Failure,
    messages::{Effect, Notice, SessionView},
};
use crate::{
    clock::Moment,
    consul::fact::{Created, Fence, Renewed, Trouble},
    error::{Error, Step},
    ownership::LossReason,
    protocol::{Ticket, cell::DeadlineCell},
};
#[cfg(test)]
use crate::{config::Timing, protocol::mutation::Mutation};

/// Pause after the servers refused the TTL: only a change of configuration helps.
const TTL_REFUSED: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn created(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: Created,
        effects: &mut Vec<Effect>,
    ) {
        let asked_at = match self.phase {
            Phase::Creating { ticket: asked, asked_at } if asked == ticket => asked_at,
            // The session is not used.
            _ => {
                match answer {
                    Created::Session(id) => self.doom(now, id, false),
                    Created::Unknown(trouble) => self.created_unknown(now, &trouble),
                    Created::Denied(_) | Created::TtlRefused(_) => {}
                }
                if matches!(self.phase, Phase::Stopping { ticket: asked } if asked == ticket) {
                    self.phase = Phase::Stopped;
                }
                return;
            }
        };
        match answer {
            Created::Session(id) => {
                let counted_from = asked_at;
                #[cfg(test)]
                let counted_from =
                    if Mutation::LeaseFromResponse.is_chosen() { now } else { counted_from };
                let deadline = self.deadline(counted_from, self.timing.session_ttl);
                self.generation += 1;
                let view = SessionView {
                    generation: self.generation,
                    id,
                    cell: Arc::new(DeadlineCell::new(deadline)),
                    lease: self.timing.lease(),
                    fence: Fence::Unraised,
                };
                let ticket = self.tickets.next();
                self.phase = Phase::Open(Open {
                    view: view.clone(),
                    opened_at: asked_at,
                    renewed_at: asked_at,
                    renew_at: asked_at + self.timing.renew_period(),
                    asked_at,
                    renewals: Vec::new(),
                    raise: Raise::Asking(ticket),
                    lent: false,
                    releases: 0,
                });
                if view.cell.is_valid(now) {
                    self.failures = 0;
                    self.blocked.cleared();
                    #[cfg(test)]
                    if Mutation::LentUnfenced.is_chosen() {
                        return self.fence_is(now, ticket, Fence::Unraised, effects);
                    }
                    let (session, from) = (view.id, view.fence);
                    effects.push(Effect::Raise { ticket, session, from });
                } else {
                    // The answer came too late: the deadline has already passed.
                    self.retire(now);
                    self.pause(now);
                }
            }
            Created::Denied(right) => {
                self.pause(now);
                let failed = (Step::CreateSession, Failure::Denied(right));
                self.blocked.report(now, &self.timing, failed, effects);
            }
            Created::TtlRefused(range) => {
                self.pause(now);
                self.phase = Phase::Absent { since: Some(now + TTL_REFUSED) };
                let why = format!(
                    "is {:?}, but the servers accept {range}; raise it, or lower \
                     session_ttl_min in the servers' configuration",
                    self.timing.session_ttl
                );
                let error = Error::Invalid { field: "timing.session_ttl", why };
                effects.push(Effect::Blocked(error.to_string()));
                effects.push(Effect::Notify(Notice::Troubled(error)));
            }
            Created::Unknown(trouble) => {
                self.pause(now);
                self.created_unknown(now, &trouble);
                if let Trouble::TooFar { .. } = trouble {
                    self.phase = Phase::Absent { since: Some(now + TOO_FAR) };
                }
                let failed = (Step::CreateSession, Failure::Unknown(trouble));
                self.blocked.report(now, &self.timing, failed, effects);
            }
        }
    }

    /// A session may exist whose id is not known.
    fn created_unknown(&mut self, now: Moment, trouble: &Trouble) {
        if !trouble.is_without_effect() {
            self.tidying.expect_stray(now);
        }
    }

    pub(super) fn renewed(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: Renewed,
        effects: &mut Vec<Effect>,
    ) {
        let timing = self.timing.clone();
        let Phase::Open(open) = &mut self.phase else { return };
        let Some(place) = open.renewals.iter().position(|(asked, _)| *asked == ticket) else {
            return;
        };
        let (_, sent_at) = open.renewals.swap_remove(place);
        match answer {
            Renewed::Alive { ttl } => {
                let ttl = ttl.unwrap_or(timing.session_ttl);
                let counted_from = sent_at;
                #[cfg(test)]
                let counted_from =
                    if Mutation::LeaseFromResponse.is_chosen() { now } else { counted_from };
                let deadline = self.deadline(counted_from, ttl);
                let Phase::Open(open) = &mut self.phase else { return };
                open.renewed_at = open.renewed_at.max(sent_at);
                if sent_at >= open.asked_at {
                    open.renew_at = open.renew_at.max(sent_at + timing.renew_period());
                }
                if !open.view.cell.extend(now, deadline) {
                    self.close(LossReason::DeadlinePassed, effects);
                } else {
                    self.blocked.cleared();
                    if std::mem::take(&mut self.failures) > 0 {
                        effects.push(Effect::Recovered);
                    }
                }
            }
            Renewed::Gone => self.close(LossReason::SessionGone, effects),
            Renewed::Denied(right) => {
                self.failures = self.failures.saturating_add(1);
                let failed = (Step::RenewSession, Failure::Denied(right));
                self.blocked.report(now, &self.timing, failed, effects);
            }
            Renewed::Unknown(trouble) => {
                self.failures = self.failures.saturating_add(1);
                let failed = (Step::RenewSession, Failure::Unknown(trouble));
                self.blocked.report(now, &self.timing, failed, effects);
            }
        }
    }

    /// The deadline proven by an answer to a request sent at `sent_at`.
    fn deadline(&self, sent_at: Moment, ttl: Duration) -> Moment {
        #[cfg(test)]
        if Mutation::DoubleTtlAsDeadline.is_chosen() {
            return sent_at + ttl * 2;
        } else if Mutation::LockDelayLeftOut.is_chosen() {
            return sent_at + Timing { fast_failover: true, ..self.timing }.lease_under(ttl);
        }
        sent_at + self.timing.lease_under(ttl)
    }
}
