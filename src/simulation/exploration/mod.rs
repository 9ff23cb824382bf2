//! Every history of a small scope.

mod canon;
mod scope;
mod search;
mod stage;
mod tests;
