//! What a process has that campaigns: its place in an election, and its terms.

use std::{fmt, ops::Deref, sync::Arc};

use crate::{
    error::Error,
    holding::{
        callers::Callers,
        keep_alive::KeepAlive,
        observer::Observer,
        term::{Leading, Term},
    },
    token::FencingToken,
};

/// A process's campaign for leadership, as the reply to
/// [`Campaign`](crate::Campaign).
///
/// All who campaign for one key in one process share one campaign: every tenure
/// says the same. Clone it and share it among threads; it keeps the runtime
/// running. Dropping it does not resign; send [`Resign`](crate::Resign), or shut the
/// runtime down. It derefs to the [`Observer`] of its key, which knows who else leads.
///
/// Leadership begins and ends over and over: after each loss the process contends
/// again. Each time is a [`Term`] of its own, with its own fencing token. For work
/// that only the leader may do there are [`Singleton`](crate::Singleton) and
/// [`Dsync::while_leading`](crate::Dsync::while_leading); or take the
/// [`elected`](Tenure::elected) term and [`run`](Term::run) the work in it.
#[derive(Clone)]
pub struct Tenure {
    observer: Observer,
    number: u64,
    began: bool,
}

impl Tenure {
    /// Joins the campaign for the key, or begins it; then the key says `value`
    /// while it is led.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn of(callers: &Arc<Callers>, value: Arc<[u8]>) -> Result<Self, Error> {
        // An observer first: it fails if the runtime has stopped.
        let observer = Observer::of(callers)?;
        let (number, began) = callers.campaign(value);
        Ok(Self { observer, number, began })
    }

    /// Keeps the runtime running while the tenure exists.
    pub(crate) fn keeping(self, keep_alive: Arc<KeepAlive>) -> Self {
        Self { observer: self.observer.keeping(keep_alive), ..self }
    }

    /// Whether the campaign began with the request that this tenure answers.
    pub(crate) fn began(&self) -> bool {
        self.began
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether this process leads, judged by the clock at this moment.
    ///
    /// It sends no message, costs a lock that nobody holds for long and one
    /// reading of the clock, and may be asked from any thread. As for
    /// [`Lease::is_valid`](crate::Lease::is_valid), it turns false before Consul
    /// can give the key to another process, and what is already on its way is
    /// stopped only by the token.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.observer.look(|leading| {
            leading.campaign == Some(self.number)
                && leading.term.as_ref().is_some_and(|term| term.is_valid())
        })
    }

    /// The token of the term that is shown, and whether it would say that it
    /// lasts, without changing anything by the question.
    #[cfg(test)]
    pub(crate) fn would_lead(&self) -> Option<(FencingToken, bool)> {
        self.observer.look(|leading| {
            let term = leading.term.as_ref().filter(|_| leading.campaign == Some(self.number));
            term.map(|term| (term.token(), term.would_be_valid()))
        })
    }

    /// The term in which this process leads, if it does.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.observer.look(|leading| self.term_of(leading))
    }

    fn term_of(&self, leading: &Leading) -> Option<Term> {
        let state = leading.term.as_ref().filter(|_| leading.campaign == Some(self.number))?;
        state.is_valid().then(|| Term::of(state.clone(), self.observer.keep_alive()))
    }

    /// The fencing token of the present term, while this process leads.
    #[must_use]
    pub fn token(&self) -> Option<FencingToken> {
        self.term().map(|term| term.token())
    }

    /// Waits until this process leads; at once if it does. It never ends after the
    /// campaign has [`ended`](Tenure::ended).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn elected(&self) -> Term {
        self.observer.wait_for(|leading| self.term_of(leading)).await
    }

    /// Waits until the campaign is over: somebody resigned without a cool-down,
    /// or the runtime was shut down. This process is not elected by it any more.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ended(&self) {
        let number = self.number;
        self.observer.wait_for(|leading| (leading.campaign != Some(number)).then_some(())).await;
    }
}

/// Who leads, this process included, is asked as of any [`Observer`].
///
/// [`Observer::changed`] is woken by the lock runtime. To act at the very deadline of
/// a term even if that is stuck, use [`Term::lost`] or [`Term::run`].
impl Deref for Tenure {
    type Target = Observer;

    fn deref(&self) -> &Observer {
        &self.observer
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure")
            .field("key", self.key())
            .field("token", &self.token())
            .finish_non_exhaustive()
    }
}
