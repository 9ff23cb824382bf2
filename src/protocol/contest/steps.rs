//! The steps of the queue and of the election, and what the effects of one mean for the
//! other.

use std::time::Duration;

use super::{Contest, Effect, Ending, News};
use crate::{
    clock::Moment,
    consul::stand_back::StandBack,
    ownership::{Holder, LossReason},
    protocol::{
        election::{self, Election},
        queue::{self, CallId, End, Patience, Queue},
    },
    token::FencingToken,
};

impl Contest {
    /// Takes a step of the queue and applies its effects.
    pub(super) fn step_queue<T>(
        &mut self,
        now: Moment,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut Queue, &mut Vec<queue::Effect>) -> T,
    ) -> T {
        let mut then = Vec::new();
        let result = step(&mut self.queue, &mut then);
        self.apply(now, then, effects);
        result
    }

    /// Applies the queue's effects and passes them to the election.
    pub(super) fn apply(
        &mut self,
        now: Moment,
        then: Vec<queue::Effect>,
        effects: &mut Vec<Effect>,
    ) {
        for effect in then {
            match effect {
                queue::Effect::Grant { call, token } => self.granted(now, call, token, effects),
                queue::Effect::Refuse { call, obstacle } => {
                    if self.election.is_caller(call) {
                        self.election.refused(now);
                        effects.push(Effect::Poke);
                    }
                    effects.push(Effect::Refuse { call, obstacle });
                }
                queue::Effect::Ended { call } => {
                    effects.push(Effect::End { call, how: Ending::Returned });
                }
                queue::Effect::Revoked { call } => {
                    effects.push(Effect::End { call, how: Ending::Revoked });
                }
                queue::Effect::Lost { call, reason } => self.lose(now, call, reason, effects),
                queue::Effect::Confirm { call, released } => {
                    effects.push(Effect::Confirm { call, released });
                }
                queue::Effect::Poke => effects.push(Effect::Poke),
            }
        }
    }

    fn granted(
        &mut self,
        now: Moment,
        call: CallId,
        token: FencingToken,
        effects: &mut Vec<Effect>,
    ) {
        let Some(cell) = self.cell.clone() else { return };
        let leads = self.election.is_caller(call);
        effects.push(Effect::Grant { call, token, cell, leads });
        let holder = self.queue.holder().cloned();
        self.step_election(now, effects, |election, then| {
            if leads {
                election.granted(token, then);
            }
            election.seen(holder.as_ref(), then);
        });
    }

    /// Takes a step of the election and applies its effects.
    pub(super) fn step_election<T>(
        &mut self,
        now: Moment,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut Election, &mut Vec<election::Effect>) -> T,
    ) -> T {
        let mut then = Vec::new();
        let result = step(&mut self.election, &mut then);
        for effect in then {
            let pause = self.demanded_pause(&effect);
            self.news.push_back(match effect {
                election::Effect::Enter => {
                    let call = self.enter(now, Patience::Unlimited, effects);
                    self.election.entered(call);
                    continue;
                }
                election::Effect::Elected { token } => News::Elected { token },
                election::Effect::Deposed { token, reason } => News::Deposed { token, reason },
                election::Effect::LeaderChanged { leader } => News::LeaderChanged { leader },
            });
            effects.push(Effect::Poke);
            if let Some(pause) = pause {
                self.stand_back(now, pause, effects);
            }
        }
        result
    }

    /// The pause that an operator demands from the campaign: the key was taken from this
    /// process, and its value says so.
    fn demanded_pause(&self, effect: &election::Effect) -> Option<Duration> {
        let election::Effect::LeaderChanged { leader: Some(keeper) } = effect else { return None };
        let won = self.last_won.0.as_ref().filter(|won| **won != keeper.session)?;
        StandBack::demanded(&keeper.value, won)
    }

    /// Pauses the campaign, if there is one.
    fn stand_back(&mut self, now: Moment, pause: Duration, effects: &mut Vec<Effect>) {
        if let Some(campaign) = self.election.campaign() {
            self.news.push_back(News::StoodBack { pause });
            self.resign(now, campaign, Some(pause), effects);
        }
    }

    /// The key's holder was read or has changed.
    pub(super) fn seen(&mut self, now: Moment, holder: Option<&Holder>, effects: &mut Vec<Effect>) {
        self.step_election(now, effects, |election, then| election.seen(holder, then));
    }

    /// The current lease is lost. Reports the loss before its consequences.
    pub(super) fn surrender(&mut self, now: Moment, reason: LossReason, effects: &mut Vec<Effect>) {
        let mut then = Vec::new();
        if let Some((call, token)) = self.queue.surrender(&mut then) {
            self.news.push_back(News::Lost { token, reason });
            self.lose(now, call, reason, effects);
        }
        self.apply(now, then, effects);
    }

    /// A caller's lease was lost.
    fn lose(&mut self, now: Moment, call: CallId, reason: LossReason, effects: &mut Vec<Effect>) {
        effects.push(Effect::End { call, how: Ending::Lost(reason) });
        let leads = self.election.is_caller(call);
        self.step_election(now, effects, |election, then| {
            if leads {
                election.lost(reason, then);
            }
            election.seen(None, then);
        });
    }

    /// Reports the end of an ownership and applies the queue's effects.
    pub(super) fn ended(
        &mut self,
        now: Moment,
        end: Option<End>,
        reason: LossReason,
        then: Vec<queue::Effect>,
        effects: &mut Vec<Effect>,
    ) {
        match end {
            // The end of the lease informs the election.
            Some(End::Lost(token)) => self.news.push_back(News::Lost { token, reason }),
            Some(End::Released(token)) => {
                self.news.push_back(News::Released { token });
                self.seen(now, None, effects);
            }
            None => {}
        }
        self.apply(now, then, effects);
    }
}
