//! The closed sessions whose destruction Consul has not confirmed yet.

use std::time::Duration;

use super::messages::{Effect, SessionView};
use crate::{
    clock::Moment,
    consul::fact::{Destroyed, SessionId, Trouble},
    error::{Error, Step},
    protocol::{Ticket, Tickets},
};

#[derive(Debug)]
struct Doomed {
    session: SessionId,
    /// It has a fence entry, which is deleted after it: the entry must remain while the
    /// session's lock attempts can still arrive.
    raised: bool,
    asking: Asking,
    again_at: Moment,
    /// Its generation and the releases that it waits for, at most until `again_at`.
    releases: Option<(u64, usize)>,
    /// From then on a refused destruction is not repeated: the TTL has ended the session.
    gives_up_at: Moment,
}

/// The request in flight about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Nothing,
    Destroy(Ticket),
    DeleteFence(Ticket),
}

/// The sessions to destroy.
#[derive(Debug)]
pub(super) struct DoomedSessions {
    ttl: Duration,
    sessions: Vec<Doomed>,
    /// Why a session was left to its TTL when the runtime stopped.
    left: Option<Error>,
}

/// Why Consul refused to destroy a session, if it did.
fn refusal(answer: &Destroyed) -> Option<Error> {
    match answer {
        Destroyed::Done => None,
        Destroyed::Denied(right) => Some(Error::Denied { right: right.clone() }),
        Destroyed::Unknown(trouble) => Some(trouble.to_error(Step::DestroySession)),
    }
}

/// The most closed sessions whose destruction is retried; the TTL ends older ones.
const MOST: usize = 16;
/// How long a release is waited for whose answer does not come: longer than any request.
const LONGEST_RELEASE: Duration = Duration::from_secs(5);
/// The pause after a destruction of unknown outcome.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause after which a destruction that was refused for want of a right is repeated.
const DENIED_PAUSE: Duration = Duration::from_secs(2);
/// The TTLs after which an unrenewed session has ended at the latest: Consul waits for two,
/// and a late renewal may begin another.
pub(super) const TTLS_TO_THE_END: u32 = 3;

impl DoomedSessions {
    /// Creates the list for sessions of this TTL.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, sessions: Vec::new(), left: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Why a session was left to its TTL when the runtime stopped, if one was.
    pub(super) fn left(&self) -> Option<Error> {
        self.left.clone()
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
        let (asking, again_at, releases) = (Asking::Nothing, now, None);
        self.sessions.push(Doomed { session, raised, asking, again_at, releases, gives_up_at });
    }

    /// Destroys the session only after so many releases.
    pub(super) fn wait(&mut self, now: Moment, view: &SessionView, releases: usize) {
        let doomed = self.sessions.iter_mut().find(|doomed| doomed.session == view.id);
        if let Some(doomed) = doomed.filter(|_| releases > 0) {
            doomed.releases = Some((view.generation, releases));
            doomed.again_at = now + LONGEST_RELEASE;
        }
    }

    /// A release under this generation was sent, while another one is in flight.
    pub(super) fn release_begun(&mut self, generation: u64) {
        for doomed in &mut self.sessions {
            if let Some((of, releases)) = &mut doomed.releases
                && *of == generation
            {
                *releases += 1;
            }
        }
    }

    /// A release under this generation was answered.
    pub(super) fn release_ended(&mut self, now: Moment, generation: u64) {
        for doomed in &mut self.sessions {
            if let Some((of, releases)) = &mut doomed.releases
                && *of == generation
            {
                *releases -= 1;
                if *releases == 0 {
                    (doomed.releases, doomed.again_at) = (None, doomed.again_at.min(now));
                }
            }
        }
    }

    /// When [`act`](Self::act) is due.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        self.sessions.iter().filter(|d| d.asking == Asking::Nothing).map(|d| d.again_at).min()
    }

    /// Sends every destruction that is due.
    pub(super) fn act(&mut self, now: Moment, tickets: &mut Tickets, effects: &mut Vec<Effect>) {
        for doomed in &mut self.sessions {
            if doomed.asking == Asking::Nothing && doomed.again_at <= now {
                doomed.releases = None;
                let ticket = tickets.next();
                doomed.asking = Asking::Destroy(ticket);
                effects.push(Effect::Destroy { ticket, session: doomed.session.clone() });
            }
        }
    }

    /// Handles the answer to a destruction, or to the deletion of a fence entry.
    pub(super) fn destroyed(
        &mut self,
        now: Moment,
        (ticket, answer): (Ticket, &Destroyed),
        stopped: bool,
        tickets: &mut Tickets,
        effects: &mut Vec<Effect>,
    ) {
        let asked = [Asking::Destroy(ticket), Asking::DeleteFence(ticket)];
        let place = self.sessions.iter().position(|doomed| asked.contains(&doomed.asking));
        let Some(place) = place else { return };
        let doomed = &mut self.sessions[place];
        let asked = std::mem::replace(&mut doomed.asking, Asking::Nothing);
        match answer {
            Destroyed::Done if doomed.raised && asked == Asking::Destroy(ticket) => {
                let ticket = tickets.next();
                doomed.asking = Asking::DeleteFence(ticket);
                effects.push(Effect::DeleteFence { ticket, session: doomed.session.clone() });
            }
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
                let doomed = self.sessions.remove(place);
                if asked == Asking::Destroy(ticket) && now < doomed.gives_up_at {
                    self.left = refusal(answer).or(self.left.take());
                }
            }
        }
    }
}
