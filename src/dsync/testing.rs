//! The start of a runtime in a test, in one line.

use super::{builder::Builder, handle::Dsync};
use crate::embedded::Embedded;

impl Dsync {
    /// Starts a runtime for a test, with an agent in this process: in `#[actix::test]` on the
    /// current thread and on Tokio's clock, which `tokio::time::pause` stops and advances; in
    /// `#[tokio::test]` on a thread of its own and in real time.
    ///
    /// With other settings, use [`Builder::embedded`].
    ///
    /// # Panics
    /// If the name of the service is empty or has a control character.
    ///
    /// ```
    /// use actix_dsync::{Acquire, Dsync, Key, embedded::Embedded};
    ///
    /// // #[tokio::test]
    /// async fn an_order_is_locked() -> Result<(), Box<dyn std::error::Error>> {
    ///     let dsync = Dsync::on_embedded("shop", &Embedded::new());
    ///     let lease = dsync.send(Acquire::new(Key::new("orders/7")?)).await?;
    ///     assert!(lease.is_valid());
    ///     Ok(())
    /// }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(an_order_is_locked()).unwrap();
    /// ```
    #[must_use]
    pub fn on_embedded(service: &str, consul: &Embedded) -> Self {
        let builder = Builder::new(service.to_owned()).embedded(consul);
        let is_here = actix_rt::System::is_registered();
        let builder = if is_here { builder.on_current_arbiter() } else { builder };
        builder.start().unwrap_or_else(|error| panic!("the runtime {service:?}: {error}"))
    }
}
