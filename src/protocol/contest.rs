//! The contest for a key within this process: which caller has the key, whether this
//! process leads, and the order in which that is reported.
//!
//! ```text
//!   callers ──► queue ◄──enter── election ◄── campaigns, observers
//!                 │                 │
//!                 └───── news ──────┘──► reported one by one, then the demand
//! ```
//!
//! A campaign is one of the queue's callers. Events become news in the order in which
//! they happen. The callers' demand is returned only after all news was taken, because
//! the demand may follow from the news.

mod messages;
mod steps;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

pub(crate) use self::messages::{Effect, Ending, News};
#[cfg(test)]
use super::mutation::Mutation;
use super::{
    cell::DeadlineCell,
    election::{Election, Stood},
    gather::SetId,
    queue::{CallId, Demand, HandOver, Obstacle, Patience, Queue},
};
use crate::{
    clock::Moment,
    error::Error,
    ownership::{Holder, LossReason},
    token::{Era, FencingToken},
};

/// The contest for one key within this process.
#[derive(Debug, Default)]
pub(crate) struct Contest {
    queue: Queue,
    election: Election,
    cell: Option<Arc<DeadlineCell>>,
    last_won: LastWon,
    stopped: bool,
    /// Oldest first.
    news: VecDeque<News>,
    #[cfg(test)]
    put_off: bool,
}

/// The session under which this process won the key last.
#[derive(Default)]
struct LastWon(Option<String>);

/// Hides the session: an exploration tells states apart by this text, and it has no operator
/// who demands a pause.
impl fmt::Debug for LastWon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastWon")
    }
}

impl Contest {
    pub(crate) fn new(era: Era, hand_over: HandOver) -> Self {
        Self { queue: Queue::new(era, hand_over), ..Self::default() }
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn election(&self) -> &Election {
        &self.election
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether nobody waits for, owns, releases or follows the key, and all news was
    /// taken.
    pub(crate) fn is_vacant(&self) -> bool {
        self.queue.is_vacant() && !self.election.is_followed() && self.news.is_empty()
    }

    /// The index at which a caller was last granted the key under the current
    /// session; 0 if none was.
    pub(crate) fn last_index(&self) -> u64 {
        let present = self.cell.as_ref().is_some_and(|cell| cell.ended().is_none());
        if present { self.queue.last_index() } else { 0 }
    }

    /// The token of this process's term, once its election was reported.
    pub(crate) fn reported_term(&self) -> Option<FencingToken> {
        let is_news = self.news.iter().any(|news| matches!(news, News::Elected { .. }));
        self.election.token().filter(|_| !is_news)
    }

    /// The leader, once it was reported.
    pub(crate) fn reported_leader(&self) -> Option<&Holder> {
        let is_news = self.news.iter().any(|news| matches!(news, News::LeaderChanged { .. }));
        self.election.leader().filter(|_| !is_news)
    }

    /// The callers' demand, if there is no more news.
    ///
    /// # Errors
    /// The next news.
    pub(crate) fn report(
        &mut self,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Result<Demand, News> {
        #[cfg(test)]
        if Mutation::DeposedToldLate.is_chosen() {
            let put_off = std::mem::replace(&mut self.put_off, true);
            if !put_off && matches!(self.news.front(), Some(News::Deposed { .. })) {
                effects.push(Effect::Poke);
                return Ok(self.demand());
            }
            self.put_off = false;
        }
        if let Some(news) = self.news.pop_front() {
            return Err(news);
        }
        self.step_election(now, effects, |election, then| election.proceed(now, then));
        Ok(self.demand())
    }

    /// When [`report`](Self::report) is due without an event.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.election.next_wakeup()
    }

    /// Queues a caller.
    pub(crate) fn enter(
        &mut self,
        now: Moment,
        patience: Patience,
        effects: &mut Vec<Effect>,
    ) -> CallId {
        self.step_queue(now, effects, |queue, then| queue.enter(patience, then))
    }

    /// The caller stops waiting.
    pub(crate) fn leave(&mut self, now: Moment, call: CallId, effects: &mut Vec<Effect>) {
        self.step_queue(now, effects, |queue, then| queue.leave(call, then));
    }

    /// The caller's lease was dropped, or released if `confirm` is set.
    pub(crate) fn end(
        &mut self,
        now: Moment,
        call: CallId,
        confirm: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.step_queue(now, effects, |queue, then| queue.end(now, call, confirm, then));
    }

    /// The process owns the key, for a set if `set` is given. Returns the token if a
    /// caller took the ownership.
    pub(crate) fn owned(
        &mut self,
        now: Moment,
        index: u64,
        cell: Arc<DeadlineCell>,
        holder: Box<Holder>,
        set: Option<SetId>,
        effects: &mut Vec<Effect>,
    ) -> Option<FencingToken> {
        self.cell = Some(cell.clone());
        self.last_won = LastWon(Some(holder.session.clone()));
        let mut then = Vec::new();
        let taken = self.queue.owned(now, index, cell, holder, set, &mut then);
        let token = taken.then(|| self.queue.token()).flatten();
        self.news.extend(token.map(|token| News::Acquired { token }));
        self.apply(now, then, effects);
        token
    }

    /// A write by the owner is sent.
    pub(crate) fn write_sent(&mut self) {
        self.queue.write_sent();
    }

    /// The owner has changed the key's value.
    pub(crate) fn value_written(
        &mut self,
        now: Moment,
        value: Arc<[u8]>,
        effects: &mut Vec<Effect>,
    ) {
        self.queue.value_written(value);
        let holder = self.queue.holder().cloned();
        if holder.is_some() {
            self.seen(now, holder.as_ref(), effects);
        }
    }

    /// The ownership has ended; its reason is still unknown.
    pub(crate) fn revoke(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.step_queue(now, effects, Queue::revoke);
    }

    /// The ownership has ended, other than by release.
    pub(crate) fn lost(&mut self, now: Moment, reason: LossReason, effects: &mut Vec<Effect>) {
        let mut then = Vec::new();
        let end = self.queue.lost(reason, &mut then);
        self.ended(now, end, reason, then, effects);
    }

    /// Consul has confirmed the release.
    pub(crate) fn released(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut then = Vec::new();
        let end = self.queue.released(&mut then);
        self.ended(now, end, LossReason::DeadlinePassed, then, effects);
    }

    /// The last read shows that nobody holds the key.
    pub(crate) fn free(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.seen(now, None, effects);
    }

    /// An obstacle prevents the acquisition for now.
    pub(crate) fn obstructed(
        &mut self,
        now: Moment,
        obstacle: Obstacle,
        effects: &mut Vec<Effect>,
    ) {
        let holder = match &obstacle {
            Obstacle::Held(holder) => Some(Some(holder.clone())),
            Obstacle::Delayed { .. } => Some(None),
            Obstacle::Foreign { .. }
            | Obstacle::NameRefused { .. }
            | Obstacle::LimitDiffers { .. }
            | Obstacle::NoSemaphore { .. }
            | Obstacle::Trouble(_) => None,
        };
        self.step_queue(now, effects, |queue, then| queue.obstructed(obstacle, then));
        if let Some(holder) = holder {
            self.seen(now, holder.as_deref(), effects);
        }
    }

    /// The key cannot be acquired, however long a caller waits.
    pub(crate) fn failed(&mut self, now: Moment, obstacle: &Obstacle, effects: &mut Vec<Effect>) {
        self.step_queue(now, effects, |queue, then| queue.failed(obstacle, then));
    }

    /// Stops granting the key; the current lease is lost.
    pub(crate) fn stop(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.turn_away(now, effects);
        self.surrender(now, LossReason::Shutdown, effects);
        effects.push(Effect::Poke);
    }

    /// The runtime has ended: nothing is granted or confirmed any more.
    pub(crate) fn abandon(&mut self, now: Moment, reason: LossReason, effects: &mut Vec<Effect>) {
        self.turn_away(now, effects);
        self.lost(now, reason, effects);
    }

    /// Refuses all present and future callers.
    fn turn_away(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.stopped = true;
        self.election.stop();
        self.failed(now, &Obstacle::Trouble(Error::Stopped), effects);
    }

    /// Joins or starts the campaign. Returns its number, and whether this call started
    /// it.
    pub(crate) fn campaign_for(&mut self, now: Moment, effects: &mut Vec<Effect>) -> (u64, bool) {
        let began = self.election.campaign().is_none();
        (self.step_election(now, effects, |election, then| election.campaign_for(now, then)), began)
    }

    /// Adds an observer.
    pub(crate) fn observe(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.election.observe();
        let holder = self.queue.holder().cloned();
        if holder.is_some() {
            self.seen(now, holder.as_ref(), effects);
        }
        effects.push(Effect::Poke);
    }

    /// Removes an observer.
    pub(crate) fn unobserve(&mut self, effects: &mut Vec<Effect>) {
        self.election.unobserve();
        effects.push(Effect::Poke);
    }

    /// Ends the campaign with that number, or pauses it for `cool_down`. If it led, its
    /// term ends with this call; returns the call whose release will be confirmed.
    ///
    /// If the term had already ended by itself, it is reported as lost first, and there
    /// is no release to confirm.
    pub(crate) fn resign(
        &mut self,
        now: Moment,
        campaign: u64,
        cool_down: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) -> Option<CallId> {
        let leads = self.election.campaign() == Some(campaign) && self.election.token().is_some();
        if leads && let Some(reason) = self.queue.overdue(now) {
            self.surrender(now, reason, effects);
        }
        let stood = self.step_election(now, effects, |election, then| {
            election.resign(now, campaign, cool_down, then)
        });
        // The next wake-up has changed in any case.
        effects.push(Effect::Poke);
        match stood {
            Stood::Idle => None,
            Stood::Waiting(call) => {
                self.leave(now, call, effects);
                None
            }
            Stood::Leading(call) => {
                let how = Ending::Lost(LossReason::Resigned);
                effects.push(Effect::End { call, how });
                self.end(now, call, true, effects);
                #[cfg(test)]
                if Mutation::TermOutlivesResignation.is_chosen() {
                    effects.retain(|effect| !matches!(effect, Effect::End { .. }));
                }
                Some(call)
            }
        }
    }

    fn demand(&self) -> Demand {
        let (follow, followings) = (self.election.is_followed(), self.election.followings());
        Demand { follow, followings, ..self.queue.demand() }
    }
}
