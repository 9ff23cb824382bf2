//! How time passes.

use std::time::Duration;

use super::{
    super::{event::Event, network::Flight, question::Question},
    stage::{MOST_AT_ONCE, Stage},
};
use crate::clock::Moment;
use crate::holding::{keeping::SessionQuestion, slot_question::SlotQuestion};

pub(super) fn is_planned(event: &Event) -> bool {
    matches!(event, Event::Operator(_) | Event::Probe { .. } | Event::Break(..))
}

/// The longest leap.
const LEAP: Duration = Duration::from_secs(4);

impl Stage {
    /// The next moment at which anything happens.
    pub(super) fn next_moment(&self) -> Option<Moment> {
        let processes = self.processes().filter(|it| self.runs(*it));
        let wakeups = processes.filter_map(|it| self.world.processes[it].next_wakeup());
        let limits = self.limits().map(|(at, _)| at);
        let planned =
            self.planned().filter(|(_, event)| self.is_heard(event)).map(|((at, _), _)| at);
        let next =
            wakeups.chain(limits).chain(planned).chain(self.world.server.next_wakeup()).min();
        next.map(|at| at.max(self.world.now))
    }

    /// The next moment that matters: a deadline, or the end of a session or a lock-delay.
    pub(super) fn next_landmark(&self) -> Option<Moment> {
        let now = self.world.now;
        let deadlines = self.world.processes.iter().filter_map(|host| {
            host.set_time(now);
            let deadline = host.wards.view()?.cell.due()?;
            (deadline > host.clock.now()).then(|| host.world_time(deadline))
        });
        let engine = &self.world.server.api.engine;
        let ends = engine.next_wakeup().into_iter().chain(engine.next_delay_end());
        deadlines.chain(ends).filter(|at| *at > now).min()
    }

    /// What happens at a moment that is known: the later steps of an operator, the answers to
    /// probes, and refused connections.
    pub(super) fn planned(&self) -> impl Iterator<Item = ((Moment, u64), &Event)> {
        let events = self.world.events.iter().map(|(at, event)| (*at, event));
        events.filter(|(_, event)| is_planned(event))
    }

    /// Whether nobody must run for it to happen, or who must does.
    fn is_heard(&self, event: &Event) -> bool {
        event.process().is_none_or(|(process, _)| self.runs(process))
    }

    /// Lets happen what is due by plan. Returns whether anything happened.
    pub(super) fn go_by_plan(&mut self) -> bool {
        let now = self.world.now;
        let due = self.planned().filter(|((at, _), event)| *at <= now && self.is_heard(event));
        let due: Vec<_> = due.map(|(at, _)| at).collect();
        for at in &due {
            let event = self.world.events.remove(at);
            event.into_iter().for_each(|event| self.world.step(event));
        }
        !due.is_empty()
    }

    pub(super) fn pass(&mut self, at: Moment) {
        self.world.now = at;
        self.world.processes.iter().for_each(|process| process.set_time(at));
        self.go_by_plan();
        self.world.wake_readers();
        self.world.check();
    }

    /// Lets time pass until the reply to a renewal of process 0 is on its way, which is late.
    pub(super) fn pass_until_renewal(&mut self) {
        let is_renewed = |flight: &Flight| {
            let exchange = &flight.exchange;
            let renews =
                matches!(exchange.question, Question::Session(SessionQuestion::Renew { .. }));
            exchange.process == 0 && renews && flight.reply.is_some()
        };
        while let Some(next) = self.next_moment() {
            self.pass(next);
            if !self.rest(|stage| stage.flights().iter().any(is_renewed)) {
                let flights = self.world.flights.iter_mut().flatten();
                flights.filter(|flight| is_renewed(flight)).for_each(|it| it.is_late = true);
                return;
            }
        }
    }

    /// Lets routine time pass: up to a landmark, or to anything that is not routine.
    pub(super) fn leap(&mut self) {
        let end = self.world.now + LEAP;
        let before = self.what_counts();
        while let Some(next) = self.next_moment() {
            let target = self.next_landmark().map_or(end, |landmark| landmark.min(end));
            if next >= target {
                return self.pass(target);
            }
            self.pass(next);
            if !self.rest(|stage| stage.is_remarkable() || stage.what_counts() != before) {
                return;
            }
        }
    }

    /// Takes every step that is due, in the order of the list, until `stops` or nothing is
    /// left. Returns whether nothing is left.
    pub(super) fn rest(&mut self, stops: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..MOST_AT_ONCE {
            self.settle_all();
            if stops(self) || self.violation().is_some() {
                return false;
            }
            let Some(next) = self.next() else { return true };
            self.take_free(next);
            self.world.check();
        }
        self.world.violate(|| "time stands still".into());
        false
    }

    pub(super) fn come_to_rest(&mut self) {
        self.rest(|_| false);
    }

    /// Whether a message that is not routine is under way.
    pub(super) fn is_remarkable(&self) -> bool {
        self.flights().iter().any(|flight| {
            let is_routine = matches!(
                flight.exchange.question,
                Question::Session(SessionQuestion::Renew { .. })
                    | Question::Watch { .. }
                    | Question::Prefix { .. }
                    | Question::Slot(_, SlotQuestion::AskSession { .. })
                    | Question::Session(SessionQuestion::List { .. })
                    | Question::Session(SessionQuestion::ListFences { .. })
                    | Question::Session(SessionQuestion::DeleteFences { .. })
            );
            !is_routine && !flight.is_late
        })
    }

    /// Changes when a lease begins or ends.
    pub(super) fn what_counts(&self) -> (u64, u64, u64) {
        let stats = &self.world.stats;
        (stats.grants, stats.losses, stats.elections)
    }
}
