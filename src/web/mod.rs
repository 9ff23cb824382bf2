//! Support for actix-web services: extractors, middleware, error responses, and health
//! and status routes.

mod body;
mod extract;
mod hold;
mod leader;
mod lock_path;
mod redirect;
mod refusal;
mod status;

pub use leader::{Leader, LeaderOnly};
pub use lock_path::{HeldLease, LockPath};
pub use redirect::LeaderConfig;
pub use status::{health_routes, status_routes};
