//! How an actix-web service uses the runtime: extractors, a middleware, and
//! answers for what goes wrong.

mod extract;
mod lock_path;
mod refusal;
mod status;

pub use lock_path::{HeldLease, LockPath};
pub use status::{health_routes, status_routes};
