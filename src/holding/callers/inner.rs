//! What the mutex of the callers guards: the contest, and the callers' reply channels.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{oneshot, watch};

use super::{
    Answer, Callers, Grant, Held, SharedRelease,
    glance::Times,
    writes::{Answers, Writes},
};
use crate::{
    clock::Moment,
    holding::{lease_state::LeaseState, term::Leading},
    ownership::Released,
    protocol::{
        contest::{Contest, Effect, Ending, News},
        queue::{CallId, Demand, HandOver},
    },
    status::telemetry::Stopwatch,
    token::Era,
};

/// The contest for one key, and the channels of those who take part.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) contest: Contest,
    pub(super) waiting: HashMap<CallId, Waiting>,
    /// The current lease.
    pub(super) lease: Option<(CallId, Arc<LeaseState>)>,
    hold: Option<Stopwatch>,
    pub(super) times: Times,
    /// Callers that wait for their release to be confirmed.
    pub(super) releasing: HashMap<CallId, oneshot::Sender<Released>>,
    /// The unconfirmed release of a resigned term.
    pub(super) resigning: Option<(CallId, SharedRelease)>,
    /// The key's value while the campaign owns it.
    pub(super) campaign_value: Arc<[u8]>,
    pub(super) writes: Writes,
    /// The view of observers and campaigns. Created for the first one, since most
    /// keys have none.
    pub(super) leading: Option<watch::Sender<Leading>>,
}

/// A caller that waits for the key.
pub(super) struct Waiting {
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) value: Arc<[u8]>,
    pub(super) wait: Stopwatch,
    pub(super) since: Moment,
    /// Its length was reported.
    pub(super) reported: bool,
    /// What the caller said it holds meanwhile.
    pub(super) holding: Box<[Held]>,
}

/// A reply to send once the mutex is free.
pub(super) enum Delivery {
    Answer(oneshot::Sender<Answer>, Answer),
    Confirmation(oneshot::Sender<Released>, Released),
}

impl Inner {
    pub(super) fn new(era: Era, hand_over: HandOver) -> Self {
        Self { contest: Contest::new(era, hand_over), ..Self::default() }
    }

    /// The demand, if there is no more news.
    pub(super) fn report(
        &mut self,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Result<Demand, News> {
        let demand = self.contest.report(now, effects)?;
        Ok(Demand { write: self.writes.in_line() > 0, ..demand })
    }

    fn end(&mut self, call: CallId, how: Ending, answers: &mut Answers) {
        let Some((_, state)) = self.lease.as_ref().filter(|(leased, _)| *leased == call) else {
            return;
        };
        match how {
            Ending::Revoked => return state.revoke(),
            Ending::Returned => state.returned(),
            Ending::Lost(reason) => state.lose(reason),
        }
        self.lease = None;
        self.writes.end(call, answers);
        if let Some(hold) = self.hold.take() {
            hold.stop();
        }
    }

    /// Updates the view of observers and campaigns.
    pub(super) fn show(&self) {
        let Some(leading) = self.leading.as_ref().filter(|to| to.receiver_count() > 0) else {
            return;
        };
        let election = self.contest.election();
        let (campaign, token) = (election.campaign(), election.token());
        leading.send_if_modified(|shown| {
            let is_news = shown.changes != election.changes()
                || shown.campaign != campaign
                || shown.leader.as_ref() != election.leader();
            if is_news {
                let lease = self.lease.as_ref().filter(|(_, state)| token == Some(state.token()));
                *shown = Leading {
                    changes: election.changes(),
                    leader: election.leader().cloned(),
                    campaign,
                    term: lease.map(|(_, state)| state.clone()),
                };
            }
            is_news
        });
    }
}

impl Callers {
    /// Carries out an effect; the replies are sent later.
    pub(super) fn perform(
        self: &Arc<Self>,
        inner: &mut Inner,
        effect: Effect,
        to: &mut Vec<Delivery>,
        answers: &mut Answers,
    ) {
        match effect {
            Effect::Grant { call, token, cell, leads } => {
                let state = LeaseState::new(self.key.clone(), token, call, cell, self.clock);
                let state = Arc::new(state);
                inner.lease = Some((call, state.clone()));
                inner.hold = Some(self.telemetry.holds(&self.key));
                inner.times.granted(self.clock.now());
                if token.is_handed_over() {
                    self.telemetry.handed_over(&self.key);
                }
                if leads {
                    // The value of the caller that had the key, or for which it was locked.
                    let holder = inner.contest.queue().holder();
                    if holder.is_some_and(|holder| holder.value != inner.campaign_value) {
                        inner.writes.add_own_value(state, inner.campaign_value.clone());
                    }
                    return;
                }
                let grant = Grant::new(state, self.clone());
                // Without a channel, the grant is dropped and thereby released.
                let answer = match inner.waiting.remove(&call) {
                    Some(waiting) => {
                        waiting.wait.stop();
                        waiting.answer
                    }
                    None => oneshot::channel().0,
                };
                to.push(Delivery::Answer(answer, Ok(grant)));
            }
            Effect::Refuse { call, obstacle } => {
                if let Some(waiting) = inner.waiting.remove(&call) {
                    let error = obstacle.into_error(&self.key);
                    to.push(Delivery::Answer(waiting.answer, Err(error)));
                }
            }
            Effect::End { call, how } => inner.end(call, how, answers),
            Effect::Confirm { call, released } => {
                inner.resigning.take_if(|(resigned, _)| *resigned == call);
                if let Some(sender) = inner.releasing.remove(&call) {
                    to.push(Delivery::Confirmation(sender, released));
                }
            }
            Effect::Poke => self.poke(),
        }
    }
}
