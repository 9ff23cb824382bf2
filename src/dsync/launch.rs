//! How the actors of a runtime are started, on which thread.

use tokio::sync::oneshot;

use crate::{
    actors::{LockSupervisor, Settings},
    consul::{client::Consul, http::HttpConfig},
    dsync::intake::{Defaults, Intake},
    error::ConfigError,
    holding::slot::Slots,
};
/// Everything that a runtime needs, checked, on its way to its thread.
pub(super) struct Plan {
    pub(super) reach: Reach,
    pub(super) prefix: Option<String>,
    pub(super) settings: Settings,
    pub(super) slots: Slots,
    pub(super) defaults: Defaults,
}

pub(super) enum Reach {
    Http(Box<HttpConfig>),
    #[cfg(feature = "embedded")]
    Embedded(crate::embedded::Embedded),
}

impl Plan {
    pub(super) fn launch(self, finished: oneshot::Sender<()>) -> Result<Intake, ConfigError> {
        let consul = match &self.reach {
            Reach::Http(config) => Consul::over_http(config, self.prefix.as_deref())
                .map_err(|why| ConfigError::Conflict(format!("address {why}")))?,
            #[cfg(feature = "embedded")]
            Reach::Embedded(embedded) => {
                Consul::over_embedded(embedded.clone(), self.prefix.as_deref())
            }
        };
        Ok(LockSupervisor::launch(consul, self.settings, self.slots, self.defaults, finished))
    }

    /// A thread and System of their own: busy handlers cannot starve the actors.
    pub(super) fn launch_on_thread(self) -> Result<Intake, ConfigError> {
        let (started, result) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("dsync".into()).spawn(move || {
            actix_rt::System::new().block_on(async move {
                let (finished, end) = oneshot::channel();
                let launched = self.launch(finished);
                let runs = launched.is_ok();
                if started.send(launched).is_ok() && runs {
                    // An error means that the supervisor died; then it is over, too.
                    let _ = end.await;
                }
            });
        })?;
        result.recv().unwrap_or_else(|_| {
            Err(ConfigError::Thread(std::io::Error::other("it ended before it had begun")))
        })
    }
}
