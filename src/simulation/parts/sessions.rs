//! The part that keeps the session.

use super::{Mail, Part};
use crate::{
    consul::{
        ask::{Checks, CreateSession},
        session_name::session_name,
    },
    holding::keeping::{Order, new_session},
    ownership::LossReason,
    protocol::{
        session::{self, LeftBehind, Notice, Session},
        warden,
    },
    simulation::{
        process::{Out, Process},
        question::Question,
    },
};

impl Process {
    fn new_session(&self) -> CreateSession {
        let name = session_name(&format!("p{}", self.id), self.life as u32);
        new_session(
            name,
            &self.timing,
            Checks { node: self.node_checks.clone(), service: Vec::new() },
        )
    }

    pub(super) fn start_session(&mut self, generation: u64, left_behind: LeftBehind) {
        let (now, timing) = (self.clock.now(), self.timing.clone());
        self.session_number += 1;
        self.session = Some(Session::new(now, timing, generation, left_behind));
        self.feed_session(self.session_number, session::Event::Start);
    }

    pub(in crate::simulation) fn feed_session(&mut self, number: u64, event: session::Event) {
        let now = self.clock.now();
        let Some(session) = self.session.as_mut().filter(|_| number == self.session_number) else {
            return;
        };
        let mut effects = Vec::new();
        session.handle(now, event, &mut effects);
        let new = self.new_session();
        for effect in effects {
            self.keep_session(Order::of(effect, &new));
        }
    }

    fn keep_session(&mut self, order: Order) {
        let question = match order {
            Order::Ask(question) => Question::Session(question),
            Order::Notify(notice) => {
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
            Order::Blocked(_) | Order::Recovered => return,
            Order::Stopped { left } => {
                self.session = None;
                return self.tell_warden(warden::Event::SessionStopped { left });
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
