//! What can be known of a key's leader without contending.

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

/// Who leads a key, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Leadership {
    /// Who holds the key according to Consul, as it was last read; `None` if
    /// nobody does, or that is not known yet.
    pub leader: Option<Holder>,
    /// The token of this process's term, while it leads.
    pub token: Option<FencingToken>,
}

fn leadership(leading: &Leading) -> Leadership {
    Leadership { leader: leading.leader.clone(), token: leading.token() }
}

/// Keeps the key observed.
struct Eye {
    callers: Arc<Callers>,
    leading: watch::Receiver<Leading>,
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.callers.unobserve();
    }
}

/// Knows who leads a key, as the reply to [`Observe`](crate::Observe).
///
/// It is a live handle: clone it, share it among threads, and ask it at any time
/// without a message. The runtime watches the key as long as a handle of it, or
/// of a [`Tenure`](crate::Tenure), exists, and runs as long. While Consul cannot be
/// reached it shows what was last known.
#[must_use = "dropping an observer ends the observation"]
pub struct Observer {
    eye: Arc<Eye>,
    /// The last change that this handle has seen.
    seen: AtomicU64,
    keep_alive: Option<Arc<KeepAlive>>,
}

impl Observer {
    /// Follows who has the key.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn of(callers: &Arc<Callers>) -> Result<Self, Error> {
        let (callers, leading) = (callers.clone(), callers.observe()?);
        let eye = Arc::new(Eye { callers, leading });
        Ok(Self { eye, seen: AtomicU64::new(0), keep_alive: None })
    }

    /// Keeps the runtime running while the observer exists.
    pub(crate) fn keeping(self, keep_alive: Arc<KeepAlive>) -> Self {
        Self { keep_alive: Some(keep_alive), ..self }
    }

    pub(crate) fn keep_alive(&self) -> Option<Arc<KeepAlive>> {
        self.keep_alive.clone()
    }

    pub(crate) fn callers(&self) -> &Arc<Callers> {
        &self.eye.callers
    }

    pub(crate) fn look<T>(&self, at: impl FnOnce(&Leading) -> T) -> T {
        at(&self.eye.leading.borrow())
    }

    /// Waits until there is something to see; for ever once the runtime is gone.
    pub(crate) async fn wait_for<T>(&self, mut see: impl FnMut(&Leading) -> Option<T>) -> T {
        let mut leading = self.eye.leading.clone();
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

    /// The key that is observed.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.eye.callers.key()
    }

    /// Who holds the key according to Consul, as it was last read; `None` if
    /// nobody does, or that is not known yet.
    #[must_use]
    pub fn leader(&self) -> Option<Holder> {
        self.look(|leading| leading.leader.clone())
    }

    /// Who leads at this moment. The token is that of this process, if it leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.look(leadership)
    }

    /// Waits for the next change after the one that this handle last returned,
    /// and returns what is then true. A handle that has returned none yet is
    /// answered at once if there ever was a change, so nobody who comes late
    /// waits for what has happened already. Changes in quick succession may be
    /// answered as one. A clone begins where the handle was that it was cloned
    /// from.
    ///
    /// It never ends once the runtime was shut down.
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
        Self { eye: self.eye.clone(), seen, keep_alive: self.keep_alive.clone() }
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
