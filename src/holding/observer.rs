//! An observer: reports a key's leader without contending.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use crate::{
    error::Error,
    holding::{callers::Callers, keep_alive::KeepAlive, term::Leading},
    key::Key,
    ownership::Holder,
    token::FencingToken,
};

/// The leader of a key at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Leadership {
    /// The key's holder according to the last read from Consul; `None` if nobody
    /// holds it, or if that is not known yet.
    pub leader: Option<Holder>,
    /// The token of this process's term, while it leads.
    pub token: Option<FencingToken>,
}

fn leadership(leading: &Leading) -> Leadership {
    Leadership { leader: leading.leader.clone(), token: leading.token() }
}

/// Keeps the key observed until it is dropped.
struct Observation {
    callers: Arc<Callers>,
    leading: watch::Receiver<Leading>,
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.callers.unobserve();
    }
}

/// Reports the leader of a key: the reply to [`Observe`](crate::Observe).
///
/// An observer can be cloned and shared among threads, and reads the current state
/// without a message. The runtime keeps running and watches the key as long as an
/// observer of it, or a [`Tenure`](crate::Tenure), exists. While Consul is unreachable,
/// an observer reports the last known state.
#[must_use = "dropping an observer ends the observation"]
pub struct Observer {
    observation: Arc<Observation>,
    /// The last change that this handle has returned.
    seen: AtomicU64,
    keep_alive: Option<Arc<KeepAlive>>,
}

impl Observer {
    /// Starts observing the key.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn of(callers: &Arc<Callers>) -> Result<Self, Error> {
        let (callers, leading) = (callers.clone(), callers.observe()?);
        let observation = Arc::new(Observation { callers, leading });
        Ok(Self { observation, seen: AtomicU64::new(0), keep_alive: None })
    }

    /// Keeps the runtime running while the observer exists.
    pub(crate) fn keeping(self, keep_alive: Arc<KeepAlive>) -> Self {
        Self { keep_alive: Some(keep_alive), ..self }
    }

    pub(crate) fn keep_alive(&self) -> Option<Arc<KeepAlive>> {
        self.keep_alive.clone()
    }

    pub(crate) fn callers(&self) -> &Arc<Callers> {
        &self.observation.callers
    }

    pub(crate) fn look<T>(&self, at: impl FnOnce(&Leading) -> T) -> T {
        at(&self.observation.leading.borrow())
    }

    /// Waits until `see` returns a value; for ever once the runtime is gone.
    pub(crate) async fn wait_for<T>(&self, mut see: impl FnMut(&Leading) -> Option<T>) -> T {
        let mut leading = self.observation.leading.clone();
        loop {
            let seen = see(&leading.borrow_and_update());
            if let Some(seen) = seen {
                return seen;
            }
            if leading.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The observed key.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.observation.callers.key()
    }

    /// The key's holder according to the last read from Consul; `None` if nobody
    /// holds it, or if that is not known yet.
    #[must_use]
    pub fn leader(&self) -> Option<Holder> {
        self.look(|leading| leading.leader.clone())
    }

    /// The leader, with the token if it is this process.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.look(leadership)
    }

    /// Waits for a change after the one that this handle last returned, and returns the
    /// state at that time.
    ///
    /// The first call on a handle completes at once if there has ever been a change, so
    /// a late observer does not wait for something that has already happened. Changes in
    /// quick succession may be reported as one. A clone continues where the original
    /// handle was.
    ///
    /// Never completes once the runtime was shut down.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change: the next call returns it.
    pub async fn changed(&self) -> Leadership {
        let last = self.seen.load(Ordering::Acquire);
        let (changes, leadership) = self
            .wait_for(|leading| {
                (leading.changes != last).then(|| (leading.changes, leadership(leading)))
            })
            .await;
        self.seen.fetch_max(changes, Ordering::AcqRel);
        leadership
    }
}

impl Clone for Observer {
    fn clone(&self) -> Self {
        let seen = AtomicU64::new(self.seen.load(Ordering::Acquire));
        Self { observation: self.observation.clone(), seen, keep_alive: self.keep_alive.clone() }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("key", self.key())
            .field(
                "leader",
                &self.look(|leading| leading.leader.as_ref().map(|l| l.session.clone())),
            )
            .finish_non_exhaustive()
    }
}
