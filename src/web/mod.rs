//! Support for actix-web services: extractors, middleware, error responses, and health
//! and status routes.

mod elsewhere;
mod extract;
mod leader;
mod lock_path;
mod locked_body;
mod refusal;
mod status;

pub use elsewhere::LeaderConfig;
pub use leader::{Leader, LeaderOnly};
pub use lock_path::{HeldLease, LockPath};
pub use status::{health_routes, status_routes};
