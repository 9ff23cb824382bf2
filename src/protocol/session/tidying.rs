//! The search for what dead actors, ended processes and lost replies left in Consul: sessions
//! of this process whose ids it does not know, and fence entries of crashed processes.

use std::time::Duration;

use super::{doomed::TTLS_TO_THE_END, messages::Effect};
use crate::{
    clock::Moment,
    consul::fact::{SessionId, SessionsSeen, StaleFences},
    protocol::{Ticket, Tickets, backoff::backoff},
};

/// A listing, now or later.
#[derive(Debug)]
pub(super) enum Look {
    Never,
    At(Moment),
    Asking(Ticket),
}

impl Look {
    fn due(&self) -> Option<Moment> {
        match self {
            Self::At(at) => Some(*at),
            Self::Never | Self::Asking(_) => None,
        }
    }

    fn is_due(&self, now: Moment) -> bool {
        self.due().is_some_and(|at| at <= now)
    }

    fn asked(&self, ticket: Ticket) -> bool {
        matches!(self, Self::Asking(asked) if *asked == ticket)
    }
}

/// The searches, which run while a session is in use. That for sessions also runs when the
/// runtime stops.
#[derive(Debug)]
pub(super) struct Tidying {
    /// The search for sessions created without this process learning their ids.
    pub(super) strays: Look,
    /// A creation may still be in flight, so the search is repeated once.
    late_strays: bool,
    /// How often in a row the search failed.
    failed: u32,
    /// When a session created before the search was asked for has ended by itself.
    ended_by: Moment,
    ttl: Duration,
    /// The search for fence entries of crashed processes.
    stale_fences: Look,
}

/// Delay of the second search for the session of a creation of unknown outcome, and of a
/// search after one that did not even show the present session.
const LATE_STRAY: Duration = Duration::from_secs(30);
/// The pauses before a listing that failed is repeated.
const LIST_AGAIN: Duration = Duration::from_secs(1);
const LIST_AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// The same while the runtime stops, which does not wait for more than so many searches.
const LIST_AGAIN_AT_STOP: Duration = Duration::from_millis(500);
const MOST_AT_STOP: u32 = 3;
/// The longest delay of a process's first search for stale fence entries. Each
/// session's delay is random: processes that start together do not search together,
/// and some of many short-lived ones do search.
pub(super) const FIRST_TIDYING: Duration = Duration::from_secs(600);
/// Interval between later searches.
pub(super) const TIDYING: Duration = Duration::from_secs(3600);
/// The most entries deleted at once, in one transaction.
pub(super) const MOST_TIDIED: usize = 32;

impl Tidying {
    /// Creates the searches of a process whose sessions have this TTL.
    pub(super) fn new(ttl: Duration) -> Self {
        let (strays, stale_fences, ended_by) = (Look::Never, Look::Never, Moment::default());
        Self { strays, late_strays: false, failed: 0, ended_by, ttl, stale_fences }
    }

    /// When [`act`](Self::act) is due.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        [&self.strays, &self.stale_fences].into_iter().filter_map(Look::due).min()
    }

    /// Sends the listings that are due.
    pub(super) fn act(&mut self, now: Moment, tickets: &mut Tickets, effects: &mut Vec<Effect>) {
        self.look_for_strays(now, tickets, effects);
        if self.stale_fences.is_due(now) {
            let ticket = tickets.next();
            self.stale_fences = Look::Asking(ticket);
            effects.push(Effect::ListFences { ticket });
        }
    }

    /// Sends the listing of sessions, if it is due.
    pub(super) fn look_for_strays(
        &mut self,
        now: Moment,
        tickets: &mut Tickets,
        effects: &mut Vec<Effect>,
    ) {
        if self.strays.is_due(now) {
            let ticket = tickets.next();
            self.strays = Look::Asking(ticket);
            effects.push(Effect::List { ticket });
        }
    }

    /// Whether a search for sessions is due or under way.
    pub(super) fn expects_strays(&self) -> bool {
        !matches!(self.strays, Look::Never)
    }

    /// When the search for sessions is due.
    pub(super) fn next_look_for_strays(&self) -> Option<Moment> {
        self.strays.due()
    }

    /// Searches for sessions now instead of later, and again if a search is under way: that
    /// one may have been served before the last session was created.
    pub(super) fn hurry(&mut self, now: Moment) {
        if self.expects_strays() {
            (self.strays, self.failed) = (Look::At(now), 0);
        }
    }

    /// This process may not know the id of a session that it created.
    pub(super) fn expect_stray(&mut self, now: Moment) {
        (self.strays, self.late_strays, self.failed) = (Look::At(now), true, 0);
        self.ended_by = now + LATE_STRAY + self.ttl * TTLS_TO_THE_END;
    }

    /// The session is in use: schedules the first search for fence entries.
    pub(super) fn session_lent(&mut self, now: Moment, session: &SessionId) {
        if let Look::Never = self.stale_fences {
            self.stale_fences = Look::At(now + FIRST_TIDYING.mul_f64(share(session)));
        }
    }

    /// Repeats the search for sessions: one that is being created would be mistaken for a
    /// stray.
    pub(super) fn search_again(&mut self, now: Moment, ticket: Ticket) {
        if self.strays.asked(ticket) {
            self.strays = Look::At(now);
        }
    }

    /// Handles the list of sessions with this process's name. Returns those that are not
    /// the `present` one. There is none when the runtime stops; this search is then the last.
    pub(super) fn sessions_listed(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: SessionsSeen,
        present: Option<&SessionId>,
    ) -> Vec<SessionId> {
        if !self.strays.asked(ticket) {
            return Vec::new();
        }
        let mut strays = Vec::new();
        let failed = std::mem::take(&mut self.failed);
        let again = match answer {
            // To a token without the right, Consul shows no session.
            SessionsSeen::Found(sessions)
                if present.is_some_and(|present| !sessions.contains(present)) =>
            {
                Some(LATE_STRAY)
            }
            SessionsSeen::Found(sessions) => {
                strays = sessions;
                strays.retain(|session| Some(session) != present);
                let again = std::mem::take(&mut self.late_strays) && present.is_some();
                again.then_some(LATE_STRAY)
            }
            SessionsSeen::Denied(_) => None,
            SessionsSeen::Unknown(_) => {
                self.failed = failed + 1;
                match present {
                    Some(_) => Some(backoff(LIST_AGAIN, failed, LIST_AGAIN_AT_MOST)),
                    None => (self.failed < MOST_AT_STOP).then_some(LIST_AGAIN_AT_STOP),
                }
            }
        };
        let at = again.map(|pause| now + pause).filter(|at| *at < self.ended_by);
        self.strays = at.map_or(Look::Never, Look::At);
        strays
    }

    /// Deletes fence entries that no session locks. Their sessions have ended, or
    /// somebody unlocked them by force; in that case the owner raises its fence again,
    /// and nothing is revived.
    pub(super) fn fences_listed(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: StaleFences,
        present: Option<&SessionId>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.stale_fences.asked(ticket) {
            return;
        }
        self.stale_fences = Look::At(now + TIDYING);
        if let StaleFences::Found(mut stale) = answer {
            stale.retain(|(session, _)| present != Some(session));
            stale.truncate(MOST_TIDIED);
            if !stale.is_empty() {
                effects.push(Effect::DeleteFences { stale });
            }
        }
    }
}

/// A pseudo-random number between 0 and 1, derived from a session's id.
pub(super) fn share(id: &SessionId) -> f64 {
    let fold = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    f64::from(id.as_str().bytes().fold(0x811c_9dc5, fold)) / f64::from(u32::MAX)
}
