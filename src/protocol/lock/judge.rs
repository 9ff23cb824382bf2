//! Judging what a read shows while contending.

use super::{Effect, Leftover, Lock, Next, Phase};
#[cfg(test)]
use crate::protocol::mutation::Mutation;
use crate::{
    clock::Moment,
    consul::fact::{Entry, Expect, Seen},
    error::{Error, Step},
    protocol::queue::Obstacle,
};

impl Lock {
    /// Judges a read while contending.
    pub(super) fn judge(&mut self, now: Moment, seen: Seen, effects: &mut Vec<Effect>) {
        self.phase = Phase::Idle;
        self.resume = Next::Try(Expect::Missing);
        match seen {
            Seen::Found { entry, index } => self.judge_entry(now, entry, index, effects),
            Seen::Missing { .. } => {
                self.leftover = Leftover::None;
                self.edited = None;
                self.seen_free(effects);
                if self.is_courteous(now) {
                    self.phase = self.courtesy(now);
                } else if self.contends() {
                    self.try_lock(Expect::Missing, effects);
                } else {
                    self.rest(now, effects);
                }
            }
            Seen::Denied(right) => {
                let obstacle = Obstacle::Trouble(Error::Denied { right });
                self.unreadable(now, obstacle, effects);
            }
            Seen::NameRefused(why) => {
                self.unreadable(now, Obstacle::NameRefused { why }, effects);
            }
            Seen::Unknown(trouble) => {
                self.obstruct(Obstacle::Trouble(trouble.to_error(Step::Read)), effects);
                let is_doubtful = self.leftover == Leftover::ByCopy;
                let tries = is_doubtful && self.may_take_over() && !self.reads_first;
                self.pause(now, if tries { Next::Try(Expect::Missing) } else { Next::Read });
            }
        }
    }

    fn judge_entry(&mut self, now: Moment, entry: Entry, index: u64, effects: &mut Vec<Effect>) {
        let ours = self.session.as_ref().is_some_and(|view| entry.session == Some(view.id.clone()));
        if ours {
            // Take it over or release it at once, whatever flags were written over ours.
            self.leftover = Leftover::At(entry.modify_index);
            return;
        }
        self.leftover = Leftover::None;
        self.edited = None;
        self.is_lock |= entry.flags == self.flags;
        if !self.demand.wants() && !self.demand.follow {
            self.phase = Phase::Idle;
            return;
        }
        if entry.session.is_none() {
            self.seen_free(effects);
        }
        let is_edited = self.is_lock && entry.flags == 0 && !entry.value.is_empty();
        if self.demand.wants() && self.is_foreign(&entry) {
            self.fail(now, Obstacle::Foreign { flags: entry.flags }, effects);
            // Those who follow the key learn its holder all the same.
            if self.demand.follow && entry.session.is_some() {
                self.wait(now, entry, index, effects);
            }
        } else if entry.session.is_some() {
            self.wait(now, entry, index, effects);
        } else if self.is_courteous(now) {
            self.phase = self.courtesy(now);
        } else if self.contends() {
            self.edited = is_edited.then_some(entry.value);
            self.try_lock(Expect::Index(entry.modify_index), effects);
        } else {
            self.rest(now, effects);
        }
    }

    /// Fails because the key may not be read. A lock that our session may hold is then
    /// freed by the end of the session.
    fn unreadable(&mut self, now: Moment, obstacle: Obstacle, effects: &mut Vec<Effect>) {
        let had = std::mem::replace(&mut self.leftover, Leftover::None);
        #[cfg(test)]
        let had = if Mutation::DeniedReadForgotten.is_chosen() { Leftover::None } else { had };
        match had {
            // Callers that came meanwhile learn by their own attempt what is refused.
            Leftover::ByCopy if !self.demand.follow => return,
            Leftover::None | Leftover::ByCopy => {}
            Leftover::Possible | Leftover::At(_) => self.sweep_from_now(now, effects),
        }
        self.fail(now, obstacle, effects);
    }

    /// Whether the key is not a lock of this crate. Flags of 0 prove nothing while the
    /// key is held, or once it is known to be a lock: a plain write, such as an
    /// editor's, sets them to 0.
    pub(super) fn is_foreign(&self, entry: &Entry) -> bool {
        let written_over = entry.flags == 0 && (entry.session.is_some() || self.is_lock);
        entry.flags != self.flags && !written_over && !entry.is_remnant()
    }
}
