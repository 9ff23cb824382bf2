//! What is known of the sessions that hold a key in turn.

use std::{collections::VecDeque, time::Duration};

use crate::{
    consul::fact::{SessionId, SessionSeen},
    protocol::Ticket,
};

/// Sessions that are remembered: where more take turns, each is asked for again.
const MOST: usize = 64;

/// The holders met lately, the last one at the end. Each is asked for once, while
/// it lives: Consul does not tell the lock-delay of a session that has ended.
#[derive(Debug, Default)]
pub(super) struct Holders(VecDeque<Known>);

#[derive(Debug)]
struct Known {
    session: SessionId,
    asking: Option<Ticket>,
    facts: Option<Box<Facts>>,
}

/// What a session says of itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) lock_delay: Duration,
}

impl Holders {
    /// That session holds the key. Returns whether it is to be asked for.
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

    /// The last one met is being asked for.
    pub(super) fn asked(&mut self, ticket: Ticket) {
        if let Some(last) = self.0.back_mut() {
            last.asking = Some(ticket);
        }
    }

    /// What is known of that session.
    pub(super) fn facts(&self, session: &SessionId) -> Option<&Facts> {
        self.0.iter().find(|known| known.session == *session)?.facts.as_deref()
    }

    /// What is known of the last one met.
    pub(super) fn last(&self) -> Option<(&SessionId, &Facts)> {
        let last = self.0.back()?;
        Some((&last.session, last.facts.as_deref()?))
    }

    /// Takes in the answer to that question; returns whether it was one of ours.
    pub(super) fn answered(&mut self, asked: Ticket, answer: &SessionSeen) -> bool {
        let Some(place) = self.0.iter().position(|known| known.asking == Some(asked)) else {
            return false;
        };
        let known = &mut self.0[place];
        known.asking = None;
        match answer {
            SessionSeen::Exists { name, node, lock_delay } => {
                let (name, node, lock_delay) = (name.clone(), node.clone(), *lock_delay);
                known.facts = Some(Box::new(Facts { name, node, lock_delay }));
            }
            // Ask again when it is next seen.
            SessionSeen::Unknown(_) => drop(self.0.remove(place)),
            SessionSeen::NotShown | SessionSeen::Denied(_) => {}
        }
        true
    }
}

#[cfg(test)]
mod tests;
