//! Faults, by choice.

use std::time::Duration;

use super::{
    super::{
        event::Event,
        network::Flight,
        operator::{self, Act},
        process::Process,
    },
    canon::FIRST_INDEX,
    choice::{Choice, Meddling, Right, Store},
    stage::{ALWAYS, Stage},
};
use crate::{embedded::engine::IndexAfterRestore, key::Key, protocol::warden};

impl Stage {
    pub(super) fn strike(&mut self, fault: Choice) {
        let key = self.wanted()[0].clone();
        let (now, left) = (self.world.now, &mut self.left);
        match fault {
            Choice::Lose(place) => {
                left.losses -= 1;
                let flight = self.remove(place);
                self.world.lose(&flight.exchange, "lost by choice");
            }
            Choice::Delay(place) => {
                left.delays -= 1;
                let flights = self.world.flights.as_mut();
                if let Some(flight) = flights.and_then(|flights| flights.get_mut(place)) {
                    flight.is_late = true;
                }
            }
            Choice::Repeat(place) => {
                left.repeats -= 1;
                let exchange = self.flights()[place].exchange.clone();
                self.world.writes.repeated(&exchange.question);
                let copy = Flight { exchange, reply: None, is_late: true };
                self.world.flights.get_or_insert_default().push(copy);
            }
            Choice::Unsend(place) => {
                left.unsent -= 1;
                let flight = self.remove(place);
                self.world.disturb(flight.exchange.process, Duration::ZERO);
                self.world.step(Event::Unsent(flight.exchange));
            }
            Choice::Cut(process) => {
                left.cuts -= 1;
                self.cut_off(process);
            }
            Choice::Pause(process) => {
                left.pauses -= 1;
                self.world.paused[process] = true;
                self.world.disturb(process, ALWAYS);
            }
            Choice::EndSession(process) => {
                left.ends -= 1;
                self.end_session(process);
            }
            Choice::Sever(process) => {
                left.severs -= 1;
                self.cut_off(process);
                self.end_session(process);
            }
            Choice::Take => {
                left.takes -= 1;
                self.world.operate(Act::TakeAway(key));
            }
            Choice::KillLock(process, points) => {
                left.deaths -= 1;
                self.world.disturb(process, Duration::ZERO);
                let host = &mut self.world.processes[process];
                host.fuse = Some((key.clone(), points));
                if let Some(slot) = host.wards.slots().get(&key) {
                    slot.callers.poke();
                }
            }
            Choice::LightFuse(process, points) => {
                left.fuses -= 1;
                self.world.disturb(process, Duration::ZERO);
                self.world.processes[process].fuse = Some((key, points));
            }
            Choice::KillSession(process) => {
                left.deaths -= 1;
                self.world.disturb(process, Duration::ZERO);
                self.world.processes[process].kill_session();
            }
            Choice::KillWatch(process) => {
                left.deaths -= 1;
                self.world.disturb(process, Duration::ZERO);
                self.world.processes[process].kill_watch();
            }
            Choice::Stop(process) => {
                left.stops -= 1;
                self.world.disturb(process, Duration::ZERO);
                let limit = Duration::from_secs(30);
                self.world.processes[process].feed_warden(warden::Event::Stop { limit });
            }
            Choice::Store(kind) => {
                left.stores -= 1;
                let act = match kind {
                    Store::Emptied => Act::RestartEmpty,
                    Store::RestoredHigher => Act::Restore(IndexAfterRestore::Rises),
                    Store::RestoredLower => Act::Restore(IndexAfterRestore::Rewinds),
                };
                self.world.operate(act);
                if kind == Store::Emptied {
                    self.world.server.api.engine.write_elsewhere(now, FIRST_INDEX);
                }
                self.release_the_forgotten();
                // Readers whose connection broke.
                let is_break = |_: &_, event: &mut Event| matches!(event, Event::Break(..));
                let mut broken: Vec<_> = self.world.events.extract_if(.., is_break).collect();
                // They broke after random times, which decide nothing here.
                broken.sort_by_key(|((_, made), _)| *made);
                broken.into_iter().for_each(|(_, event)| self.world.step(event));
            }
            Choice::Deny(process, right) => {
                left.denials -= 1;
                let lacking = &mut self.world.server.lacking[process];
                match right {
                    Right::Read => lacking.reads = now + ALWAYS,
                    Right::Write => lacking.writes = now + ALWAYS,
                    Right::Fence => lacking.fences = now + ALWAYS,
                    Right::ReadAndFence => {
                        (lacking.reads, lacking.fences) = (now + ALWAYS, now + ALWAYS);
                    }
                }
                self.world.disturb(process, ALWAYS);
            }
            Choice::Meddle(kind) => {
                left.meddlings -= 1;
                self.world.operate(match kind {
                    Meddling::Delete => Act::DeleteKey(key),
                    Meddling::ForceRelease => Act::ForceRelease(key),
                    Meddling::Overwrite => Act::Overwrite(key),
                });
            }
            Choice::Sweep => {
                left.sweeps -= 1;
                self.world.operate(Act::Fences(operator::Meddling::Delete));
            }
            _ => {}
        }
    }

    fn cut_off(&mut self, process: usize) {
        let until = self.world.now + ALWAYS;
        let link = &mut self.world.links[process];
        (link.requests_cut, link.replies_cut) = (until, until);
        self.world.disturb(process, ALWAYS);
        self.world
            .flights
            .get_or_insert_default()
            .retain(|flight| flight.exchange.process != process || flight.is_late);
    }

    fn end_session(&mut self, process: usize) {
        let now = self.world.now;
        if let Some(session) = self.world.processes[process].live_session().cloned() {
            // An unknown session is as good as destroyed.
            let _ = self.world.server.api.engine.destroy_session(now, session.as_str());
        }
        self.world.disturb(process, Duration::ZERO);
        self.world.wake_readers();
    }

    /// Works around a known limit, like `release_the_risen`: a snapshot brings back a lock
    /// whose release was under way.
    fn release_the_forgotten(&mut self) {
        let owns = |host: &Process, key: &Key| {
            host.wards.slots().get(key).is_some_and(|slot| slot.machine().owns())
        };
        self.world.withdraw_permits(owns);
        let key = self.world.keys[0].clone();
        let Some((session, _)) = self.world.server.holder(&key) else { return };
        let mut hosts = self.world.processes.iter();
        if !hosts.any(|host| host.live_session() == Some(&session) && owns(host, &key)) {
            self.world.operate(Act::ForceRelease(key));
        }
    }
}
