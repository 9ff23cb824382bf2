//! The writes of a key's owners, in their order.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    consul::{
        ask::EntryOp,
        fact::{Trouble, Written},
    },
    error::{Error, Step},
    holding::lease_state::LeaseState,
    protocol::queue::CallId,
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
    /// `None` for the campaign's own value, which is repeated until it is written.
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
    /// the value.
    pub(super) fn conclude(
        &mut self,
        outcome: Written,
        answers: &mut Answers,
    ) -> Option<(Arc<LeaseState>, Arc<[u8]>)> {
        let pending = self.current.take()?;
        let value = match (&outcome, &pending.content) {
            (Written::Done { .. }, Content::Value(value)) => {
                Some((pending.under.clone(), value.clone()))
            }
            _ => None,
        };
        let is_unsettled = matches!(outcome, Written::Failed(_) | Written::Unknown(_));
        if pending.reply.is_none() && is_unsettled {
            self.line.push_front(pending);
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
        let why = "the lock runtime has stopped".to_owned();
        let unknown = Error::Unknown { step: Step::Write, why };
        if let Some(pending) = self.current.take() {
            pending.answered(Err(unknown), answers);
        }
        self.line.drain(..).for_each(|pending| pending.refused(answers));
    }
}

pub(super) fn not_held(under: &LeaseState) -> Error {
    Error::NotHeld { key: under.key().clone(), token: under.token() }
}

fn answer(outcome: Written, under: &LeaseState) -> WriteAnswer {
    let step = Step::Write;
    let unavailable = |trouble: &Trouble| Error::Unavailable { step, why: trouble.to_string() };
    Err(match outcome {
        Written::Done { .. } => return Ok(()),
        Written::NotHeld | Written::Moved(_) => not_held(under),
        Written::Conflict(key) => Error::Conflict { key },
        Written::Denied(right) => Error::Denied { right },
        Written::Refused(why) => Error::Unavailable { step, why },
        Written::Failed(trouble) => unavailable(&trouble),
        Written::Unknown(trouble) => Error::Unknown { step, why: trouble.to_string() },
    })
}
