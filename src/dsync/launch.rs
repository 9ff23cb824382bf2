//! The start of a runtime's actors on their thread.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::Actor as _;
use actix_rt::Arbiter;
use tokio::sync::oneshot;

use crate::{
    actors::{LockSupervisor, Settings, Stop},
    consul::client::Consul,
    dsync::{
        inspector::Inspector,
        intake::{Defaults, Intake},
        reach::Reach,
    },
    error::ConfigError,
    holding::{keep_alive::KeepAlive, slots::Slots},
    messages::subscribers::Hub,
};

/// How long an abandoned runtime tries to end in good order.
const ABANDONED_LIMIT: Duration = Duration::from_secs(5);

/// The validated settings of a runtime, to be moved to its thread.
pub(super) struct Plan {
    pub(super) reach: Reach,
    pub(super) prefix: Option<String>,
    pub(super) settings: Settings,
    pub(super) slots: Slots,
    pub(super) defaults: Defaults,
}

impl Plan {
    pub(super) fn launch(self, finished: oneshot::Sender<()>) -> Result<Intake, ConfigError> {
        let consul = match &self.reach {
            Reach::Http { http, token, scope } => {
                let prefix = self.prefix.as_deref();
                Consul::over_http(http, token.clone(), prefix, scope.clone())
                    .map_err(ConfigError::Conflict)?
            }
            #[cfg(feature = "embedded")]
            Reach::Embedded(embedded) => {
                Consul::over_backend(embedded.clone(), self.prefix.as_deref())
            }
        };
        let Self { prefix, settings, slots, defaults, .. } = self;
        let (slots, settings) = (Arc::new(slots), Rc::new(settings));
        let hub = Arc::new(Hub::default());
        let inspector = Inspector::new(consul.clone(), settings.clone());
        let (supervisor, readiness) =
            LockSupervisor::launch(consul, settings.clone(), slots.clone(), hub.clone(), finished);
        let abandoned = supervisor.clone();
        let end = move || abandoned.do_send(Stop { limit: ABANDONED_LIMIT, done: None });
        Ok(Intake {
            slots,
            hub,
            readiness,
            supervisor,
            inspector: inspector.start(),
            arbiter: Arbiter::current(),
            keep_alive: Arc::new(KeepAlive::new(end)),
            service: settings.service.as_str().into(),
            prefix: prefix.map(Into::into),
            timing: settings.timing.clone(),
            journal: settings.journal.clone(),
            defaults: Arc::new(defaults),
        })
    }

    /// Starts the actors on their own thread and System, so that busy handlers cannot starve
    /// them.
    pub(super) fn launch_on_thread(self) -> Result<Intake, ConfigError> {
        let (started, result) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("dsync".into())
            .spawn(move || {
                actix_rt::System::new().block_on(async move {
                    let (finished, end) = oneshot::channel();
                    let launched = self.launch(finished);
                    let runs = launched.is_ok();
                    if started.send(launched).is_ok() && runs {
                        // An error means that the supervisor died, which also ends the runtime.
                        let _ = end.await;
                    }
                });
            })
            .map_err(ConfigError::Thread)?;
        result.recv().unwrap_or_else(|_| {
            Err(ConfigError::Thread(std::io::Error::other(
                "the runtime thread exited during startup",
            )))
        })
    }
}
