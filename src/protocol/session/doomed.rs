//! The closed sessions whose destruction Consul has not confirmed yet.

use std::time::Duration;

use super::messages::Effect;
use crate::{
    clock::Moment,
    consul::fact::{Destroyed, SessionId, Trouble},
    protocol::{Ticket, Tickets},
};

#[derive(Debug)]
struct Doomed {
    session: SessionId,
    raised: bool,
    asking: Option<Ticket>,
    again_at: Moment,
    /// From then on a refused destruction is not repeated: the TTL has ended the session.
    gives_up_at: Moment,
}

/// The sessions to destroy.
#[derive(Debug)]
pub(super) struct DoomedSessions {
    ttl: Duration,
    sessions: Vec<Doomed>,
}

/// The most closed sessions whose destruction is retried; the TTL ends older ones.
const MOST: usize = 16;
/// The pause after a destruction of unknown outcome.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause after which a destruction that was refused for want of a right is repeated.
const DENIED_PAUSE: Duration = Duration::from_secs(2);
/// The TTLs after which an unrenewed session has ended at the latest: Consul waits for two,
/// and a late renewal may begin another.
const TTLS_TO_THE_END: u32 = 3;

impl DoomedSessions {
    /// Creates the list for sessions of this TTL.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, sessions: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(super) fn contains(&self, session: &SessionId) -> bool {
        self.sessions.iter().any(|doomed| doomed.session == *session)
    }

    /// Adds a session. Its fence entry is deleted too if it was `raised`.
    pub(super) fn add(&mut self, now: Moment, session: SessionId, raised: bool) {
        if self.sessions.len() == MOST {
            self.sessions.remove(0);
        }
        let gives_up_at = now + self.ttl * TTLS_TO_THE_END;
        let doomed = Doomed { session, raised, asking: None, again_at: now, gives_up_at };
        self.sessions.push(doomed);
    }

    /// When [`act`](Self::act) is due.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        self.sessions.iter().filter(|d| d.asking.is_none()).map(|d| d.again_at).min()
    }

    /// Sends every destruction that is due.
    pub(super) fn act(&mut self, now: Moment, tickets: &mut Tickets, effects: &mut Vec<Effect>) {
        for doomed in &mut self.sessions {
            if doomed.asking.is_none() && doomed.again_at <= now {
                let ticket = tickets.next();
                doomed.asking = Some(ticket);
                effects.push(Effect::Destroy {
                    ticket,
                    session: doomed.session.clone(),
                    raised: doomed.raised,
                });
            }
        }
    }

    /// Handles the answer to a destruction.
    pub(super) fn destroyed(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answer: &Destroyed,
        stopped: bool,
    ) {
        let place = self.sessions.iter().position(|doomed| doomed.asking == Some(ticket));
        let Some(place) = place else { return };
        let doomed = &mut self.sessions[place];
        doomed.asking = None;
        match answer {
            Destroyed::Unknown(trouble) if *trouble != Trouble::UnknownToken => {
                doomed.again_at = now + PAUSE;
            }
            // The token may get the right back, and until then the session keeps its keys.
            // A stop does not wait for that.
            Destroyed::Denied(_) | Destroyed::Unknown(_)
                if now < doomed.gives_up_at && !stopped =>
            {
                doomed.again_at = now + DENIED_PAUSE;
            }
            Destroyed::Done | Destroyed::Denied(_) | Destroyed::Unknown(_) => {
                drop(self.sessions.remove(place));
            }
        }
    }
}
