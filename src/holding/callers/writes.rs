//! Writes by the callers that own the key, in their order.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use super::{Callers, inner::Inner};
use crate::{
    consul::{ask::EntryOp, fact::Written},
    error::{Error, Step},
    holding::lease_state::LeaseState,
    protocol::queue::CallId,
    token::FencingToken,
};

/// The content of a write.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// The key's value.
    Value(Arc<[u8]>),
    /// Other entries.
    Entries(Arc<[EntryOp]>),
}

/// The outcome of a write, for its caller.
pub(crate) type WriteAnswer = Result<(), Error>;

/// Answers to send.
pub(super) type Answers = Vec<(oneshot::Sender<WriteAnswer>, WriteAnswer)>;

/// A write that is in line or in flight.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) under: Arc<LeaseState>,
    pub(super) content: Content,
    /// `None` for the campaign's own value, which is repeated until the key has it, or another
    /// that its leader has written. If the key may have one from its leader, that is repeated.
    reply: Option<oneshot::Sender<WriteAnswer>>,
}

/// The writes of one key's owners.
#[derive(Debug, Default)]
pub(super) struct Writes {
    line: VecDeque<Pending>,
    /// The one that the machine has sent or repeats.
    current: Option<Pending>,
}

impl Pending {
    pub(super) fn refused(self, answers: &mut Answers) {
        let error = not_held(&self.under);
        self.answered(Err(error), answers);
    }

    fn answered(self, answer: WriteAnswer, answers: &mut Answers) {
        answers.extend(self.reply.map(|reply| (reply, answer)));
    }
}

impl Writes {
    pub(super) fn in_line(&self) -> usize {
        self.line.len()
    }

    /// Adds the value that the campaign gives the key.
    pub(super) fn add_own_value(&mut self, under: Arc<LeaseState>, value: Arc<[u8]>) {
        self.line.push_back(Pending { under, content: Content::Value(value), reply: None });
    }

    pub(super) fn add(
        &mut self,
        under: Arc<LeaseState>,
        content: Content,
    ) -> oneshot::Receiver<WriteAnswer> {
        let (reply, answer) = oneshot::channel();
        self.line.push_back(Pending { under, content, reply: Some(reply) });
        answer
    }

    /// The write to send: the current one if it is repeated, or else the next in line.
    pub(super) fn next(&mut self) -> Option<Pending> {
        self.current.take().or_else(|| self.line.pop_front())
    }

    pub(super) fn begin(&mut self, pending: Pending) -> Content {
        self.current.insert(pending).content.clone()
    }

    /// Concludes the current write. Returns its lease and the key's new value, if it updated
    /// the value. The campaign's own value is written again while its lease is `current`, after
    /// the writes in line, which may succeed although it does not.
    pub(super) fn conclude(
        &mut self,
        outcome: Written,
        current: Option<&Arc<LeaseState>>,
        answers: &mut Answers,
    ) -> Option<(Arc<LeaseState>, Arc<[u8]>)> {
        let pending = self.current.take()?;
        let is_own = |it: &Pending| it.reply.is_none() && Arc::ptr_eq(&it.under, &pending.under);
        let value = match (&outcome, &pending.content) {
            (Written::Done { .. }, Content::Value(value)) => {
                self.line.retain(|it| !is_own(it));
                Some((pending.under.clone(), value.clone()))
            }
            // The key may have it, so nothing else may follow.
            (Written::Unknown(_), Content::Value(_)) => {
                let own = self.line.iter_mut().find(|it| is_own(it));
                own.into_iter().for_each(|own| own.content = pending.content.clone());
                None
            }
            _ => None,
        };
        let may_succeed =
            matches!(outcome, Written::Denied(_) | Written::Failed(_) | Written::Unknown(_));
        let is_current = current.is_some_and(|lease| Arc::ptr_eq(lease, &pending.under));
        if pending.reply.is_none() && may_succeed && is_current {
            self.line.push_back(pending);
        } else {
            let answer = answer(outcome, &pending.under);
            pending.answered(answer, answers);
        }
        value
    }

    /// Refuses the writes in line of a caller whose lease has ended.
    pub(super) fn end(&mut self, call: CallId, answers: &mut Answers) {
        for pending in std::mem::take(&mut self.line) {
            if pending.under.call() == call {
                pending.refused(answers);
            } else {
                self.line.push_back(pending);
            }
        }
    }

    /// Answers all writes, because the runtime has ended.
    pub(super) fn abandon(&mut self, answers: &mut Answers) {
        if let Some(pending) = self.current.take() {
            let unknown = Error::unknown(Step::Write, "the lock runtime has stopped");
            let unknown = unknown.naming(pending.under.key());
            pending.answered(Err(unknown), answers);
        }
        self.line.drain(..).for_each(|pending| pending.refused(answers));
    }
}

impl Callers {
    /// Adds a write under the lease, which is answered through the channel.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the lease has ended; [`Error::TooManyWaiters`] if `limit`
    /// writes are in line.
    pub(crate) fn write(
        self: &Arc<Self>,
        under: &Arc<LeaseState>,
        content: Content,
        limit: usize,
    ) -> Result<oneshot::Receiver<WriteAnswer>, Error> {
        let mut inner = self.lock();
        if !inner.is_current(under) {
            return Err(not_held(under));
        }
        if inner.writes.in_line() >= limit {
            return Err(Error::TooManyWaiters { key: self.key.clone(), limit });
        }
        let answer = inner.writes.add(under.clone(), content);
        drop(inner);
        self.poke();
        Ok(answer)
    }

    /// A write relies on `under`, beside the ownership of another key: from here on, this
    /// ownership is not handed over within the process.
    ///
    /// # Errors
    /// [`Error::NotHeld`].
    pub(crate) fn rely_on(self: &Arc<Self>, under: &Arc<LeaseState>) -> Result<(), Error> {
        let mut inner = self.lock();
        if !inner.is_current(under) {
            return Err(not_held(under));
        }
        inner.contest.write_sent();
        Ok(())
    }

    /// The content of the write to send; `None` if its lease has ended meanwhile.
    ///
    /// From here on, the ownership is not handed over within the process.
    pub(crate) fn begin_write(self: &Arc<Self>) -> Option<Content> {
        self.step_and_answer(|inner, _, _, answers| {
            let pending = inner.writes.next()?;
            if !inner.is_current(&pending.under) {
                pending.refused(answers);
                return None;
            }
            inner.contest.write_sent();
            Some(inner.writes.begin(pending))
        })
    }

    /// The current write has this outcome. Returns the key's new value and the token that it
    /// was written under, if the write updated it.
    pub(crate) fn wrote(self: &Arc<Self>, outcome: Written) -> Option<(FencingToken, Arc<[u8]>)> {
        self.step_and_answer(|inner, now, effects, answers| {
            let current = inner.lease.as_ref().map(|(_, lease)| lease.clone());
            let (under, value) = inner.writes.conclude(outcome, current.as_ref(), answers)?;
            if inner.is_owned(&under) {
                inner.contest.value_written(now, value.clone(), effects);
            }
            Some((under.token(), value))
        })
    }

    /// The owned key has this value, which somebody else may have written.
    pub(crate) fn value_seen(self: &Arc<Self>, value: Arc<[u8]>) {
        self.step(|inner, now, effects| inner.contest.value_written(now, value, effects));
    }
}

impl Inner {
    /// Whether this is the current lease, and still valid.
    fn is_current(&self, lease: &Arc<LeaseState>) -> bool {
        self.is_owned(lease) && lease.is_valid()
    }

    fn is_owned(&self, lease: &Arc<LeaseState>) -> bool {
        self.lease.as_ref().is_some_and(|(_, current)| Arc::ptr_eq(current, lease))
    }
}

fn not_held(under: &LeaseState) -> Error {
    Error::NotHeld { key: under.key().clone(), token: under.token() }
}

fn answer(outcome: Written, under: &LeaseState) -> WriteAnswer {
    let step = Step::Write;
    let error = match outcome {
        Written::Done { .. } => return Ok(()),
        Written::NotHeld | Written::Moved(_) => not_held(under),
        Written::Conflict(key) => Error::Conflict { key },
        Written::Denied(right) => Error::Denied { right },
        Written::Refused(why) => Error::unavailable(step, why),
        Written::Failed(trouble) => trouble.to_error(step),
        Written::Unknown(trouble) => Error::unknown(step, trouble.to_string()),
    };
    Err(error.naming(under.key()))
}

#[cfg(test)]
mod tests;
