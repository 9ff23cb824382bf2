//! The part that keeps the session.

use super::{Mail, Part};
use crate::{
    consul::{
        ask::{
            Checks, CreateSession, DeleteStaleFences, DestroySession, ListSessions, RaiseFence,
            RenewSession,
        },
        session_name::session_name,
    },
    ownership::LossReason,
    protocol::{
        session::{self, Notice, Session, SessionView},
        warden,
    },
    simulation::{
        process::{Out, Process},
        question::Question,
    },
};

impl Process {
    fn name(&self) -> String {
        session_name(&format!("p{}", self.id), self.life as u32)
    }

    pub(super) fn start_session(&mut self, generation: u64, left_behind: Option<&SessionView>) {
        let mut session = Session::new(self.timing.clone(), generation);
        if let Some(view) = left_behind {
            session.doom(self.clock.now(), view.id.clone(), true);
        }
        self.session_number += 1;
        self.session = Some(session);
        self.feed_session(self.session_number, session::Event::Start);
    }

    pub(in crate::simulation) fn feed_session(&mut self, number: u64, event: session::Event) {
        let now = self.clock.now();
        let Some(session) = self.session.as_mut().filter(|_| number == self.session_number) else {
            return;
        };
        let mut effects = Vec::new();
        session.handle(now, event, &mut effects);
        for effect in effects {
            self.perform_session(effect);
        }
    }

    fn perform_session(&mut self, effect: session::Effect) {
        use session::Effect;
        let question = match effect {
            Effect::Create { ticket } => {
                let ask = CreateSession {
                    name: self.name(),
                    ttl: self.timing.session_ttl,
                    lock_delay: self.timing.lock_delay,
                    checks: Checks { node: self.node_checks.clone(), service: Vec::new() },
                };
                Question::Create { ticket, ask }
            }
            Effect::Renew { ticket, session } => {
                Question::Renew { ticket, ask: RenewSession { session } }
            }
            Effect::Destroy { ticket, session, raised } => {
                Question::Destroy { ticket, ask: DestroySession { session }, raised }
            }
            Effect::Raise { ticket, session, from } => {
                Question::Raise { ticket, ask: RaiseFence { session, from } }
            }
            Effect::ReadFence { ticket, session } => Question::ReadFence { ticket, session },
            Effect::List { ticket } => {
                Question::List { ticket, ask: ListSessions { name: self.name() } }
            }
            Effect::ListFences { ticket } => Question::ListFences { ticket },
            Effect::DeleteFences { stale } => {
                Question::DeleteFences { ask: DeleteStaleFences { stale } }
            }
            Effect::Notify(notice) => {
                match &notice {
                    Notice::Opened(view) => {
                        self.sessions.insert(view.id.clone(), false);
                        self.out.push(Out::Opened(view.id.clone()));
                    }
                    Notice::Closed { reason, .. } => {
                        self.sessions.values_mut().for_each(|closed| *closed = true);
                        self.out.push(Out::Closed(*reason));
                    }
                    Notice::Fenced { .. } | Notice::Troubled(_) => {}
                }
                return self.tell_warden(warden::Event::Notified(notice));
            }
            Effect::Blocked(_) | Effect::Recovered => return,
            Effect::Stopped => {
                self.session = None;
                return self.tell_warden(warden::Event::SessionStopped);
            }
        };
        self.out.push(Out::Ask(question, Part::Session(self.session_number)));
    }

    fn tell_warden(&mut self, event: warden::Event) {
        let from = Part::Session(self.session_number);
        self.post(from, Part::Warden, Mail::Warden(event));
    }

    /// Kills the session actor.
    pub(in crate::simulation) fn kill_session(&mut self) {
        let Some(session) = self.session.take() else { return };
        if let Some(view) = session.view() {
            view.cell.latch(LossReason::RuntimeFailed);
        }
        self.sessions.values_mut().for_each(|closed| *closed = true);
        self.tell_warden(warden::Event::SessionDied);
    }
}
