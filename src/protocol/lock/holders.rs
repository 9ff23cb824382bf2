//! Details of the sessions that recently held a key.

use std::{collections::VecDeque, time::Duration};

use crate::{
    consul::fact::{SessionId, SessionSeen},
    protocol::Ticket,
};

/// The number of sessions remembered. If more take turns, each is queried again.
const MOST: usize = 64;

/// The recent holders, the latest at the end. Each is queried once, while it lives:
/// Consul does not report the lock-delay of an ended session.
#[derive(Debug, Default)]
pub(super) struct Holders(VecDeque<Known>);

#[derive(Debug)]
struct Known {
    session: SessionId,
    asking: Option<Ticket>,
    facts: Option<Box<Facts>>,
}

/// Details of a session in Consul.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) lock_delay: Duration,
}

impl Holders {
    /// Notes that `session` holds the key. Returns whether to query it.
    pub(super) fn meet(&mut self, session: &SessionId) -> bool {
        let place = self.0.iter().position(|known| known.session == *session);
        let met = place.and_then(|place| self.0.remove(place));
        let is_new = met.is_none();
        if is_new && self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(met.unwrap_or(Known {
            session: session.clone(),
            asking: None,
            facts: None,
        }));
        is_new
    }

    /// Notes the ticket of the query for the latest holder.
    pub(super) fn asked(&mut self, ticket: Ticket) {
        if let Some(last) = self.0.back_mut() {
            last.asking = Some(ticket);
        }
    }

    /// The details of `session`, if known.
    pub(super) fn facts(&self, session: &SessionId) -> Option<&Facts> {
        self.0.iter().find(|known| known.session == *session)?.facts.as_deref()
    }

    /// The latest holder and its details, if known.
    pub(super) fn last(&self) -> Option<(&SessionId, &Facts)> {
        let last = self.0.back()?;
        Some((&last.session, last.facts.as_deref()?))
    }

    /// Handles the answer to a query. Returns whether the query was one of these.
    pub(super) fn answered(&mut self, asked: Ticket, answer: &SessionSeen) -> bool {
        let Some(place) = self.0.iter().position(|known| known.asking == Some(asked)) else {
            return false;
        };
        let known = &mut self.0[place];
        known.asking = None;
        match answer {
            SessionSeen::Exists { name, node, lock_delay, .. } => {
                let (name, node, lock_delay) = (name.clone(), node.clone(), *lock_delay);
                known.facts = Some(Box::new(Facts { name, node, lock_delay }));
            }
            // Query it again when it is next seen.
            SessionSeen::Unknown(_) => drop(self.0.remove(place)),
            SessionSeen::NotShown | SessionSeen::Denied(_) => {}
        }
        true
    }
}

#[cfg(test)]
mod tests;
