//! A tenure: this process's campaign for leadership, and its terms.

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

/// A process's campaign for leadership: the reply to
/// [`Campaign`](crate::Campaign).
///
/// All campaigns of one process for the same key are one campaign, so their tenures
/// are equivalent. A tenure can be cloned and shared among threads, and keeps the
/// runtime running. Dropping it does not resign: send [`Resign`](crate::Resign), or
/// shut the runtime down. It derefs to the key's [`Observer`], which reports any leader.
///
/// A campaign can win and lose leadership many times: after each loss the process
/// contends again. Each leadership is a separate [`Term`] with its own fencing token.
/// For work that only the leader may do, use [`Singleton`](crate::jobs::Singleton) or
/// [`Dsync::while_leading`](crate::Dsync::while_leading); or take the
/// [`elected`](Tenure::elected) term and [`run`](Term::run) the work in it.
#[derive(Clone)]
pub struct Tenure {
    observer: Observer,
    number: u64,
    began: bool,
}

impl Tenure {
    /// Joins the campaign for the key, or starts one whose term gives the key `value`.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn of(callers: &Arc<Callers>, value: Arc<[u8]>) -> Result<Self, Error> {
        // Create the observer first: this fails if the runtime has stopped.
        let observer = Observer::of(callers)?;
        let (number, began) = callers.campaign(value);
        Ok(Self { observer, number, began })
    }

    /// Keeps the runtime running while the tenure exists.
    pub(crate) fn keeping(self, keep_alive: Arc<KeepAlive>) -> Self {
        Self { observer: self.observer.keeping(keep_alive), ..self }
    }

    /// Whether the request that this tenure answers started the campaign.
    pub(crate) fn began(&self) -> bool {
        self.began
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether this process leads, according to the clock at this moment.
    ///
    /// Takes one briefly held lock and reads the clock once; sends no message and works
    /// from any thread. As for [`Lease::is_valid`](crate::Lease::is_valid), it turns
    /// false before Consul can give the key to another process, and only the token stops
    /// a write that is already in flight.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.observer.look(|leading| {
            leading.campaign == Some(self.number)
                && leading.term.as_ref().is_some_and(|term| term.is_valid())
        })
    }

    /// The token of the current term and its validity, without latching the cell.
    #[cfg(test)]
    pub(crate) fn would_lead(&self) -> Option<(FencingToken, bool)> {
        self.observer.look(|leading| {
            let term = leading.term.as_ref().filter(|_| leading.campaign == Some(self.number));
            term.map(|term| (term.token(), term.would_be_valid()))
        })
    }

    /// The current term, while this process leads.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.observer.look(|leading| self.term_of(leading))
    }

    fn term_of(&self, leading: &Leading) -> Option<Term> {
        let state = leading.term.as_ref().filter(|_| leading.campaign == Some(self.number))?;
        state.is_valid().then(|| Term::of(state.clone(), self.observer.keep_alive()))
    }

    /// The fencing token of the current term, while this process leads.
    #[must_use]
    pub fn token(&self) -> Option<FencingToken> {
        self.term().map(|term| term.token())
    }

    /// Waits until this process leads; completes at once if it does. Never completes
    /// after the campaign has [`ended`](Tenure::ended).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn elected(&self) -> Term {
        self.observer.wait_for(|leading| self.term_of(leading)).await
    }

    /// Waits until the campaign has ended: this process resigned without a cool-down,
    /// or the runtime was shut down. The campaign is never elected afterwards.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ended(&self) {
        let number = self.number;
        self.observer.wait_for(|leading| (leading.campaign != Some(number)).then_some(())).await;
    }
}

/// A tenure is also an [`Observer`] of its key, whose leader may be this process.
///
/// The lock runtime wakes [`Observer::changed`]. To act exactly at a term's deadline even
/// if the runtime is stuck, use [`Term::lost`] or [`Term::run`].
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
