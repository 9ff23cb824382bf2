//! Makes a chosen actor panic, for tests.

use std::cell::Cell;

use actix::prelude::*;

use super::{
    lock::LockActor, session::SessionActor, supervisor::LockSupervisor, watch::WatchActor,
};
use crate::key::Key;

/// Makes one actor panic.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Crash {
    Lock(Key),
    Session,
    Watch,
    Supervisor,
}

thread_local! {
    static CRASHES: Cell<usize> = const { Cell::new(0) };
}

/// How many actors of this thread have crashed.
pub(super) fn crashes() -> usize {
    CRASHES.get()
}

macro_rules! panics {
    ($($actor:ty),*) => {$(
        impl Handler<Crash> for $actor {
            type Result = ();

            fn handle(&mut self, crash: Crash, _: &mut Context<Self>) {
                CRASHES.set(crashes() + 1);
                panic!("{crash:?}, on purpose");
            }
        }
    )*};
}

panics!(LockActor, SessionActor, WatchActor);

impl Handler<Crash> for LockSupervisor {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Context<Self>) {
        match &crash {
            Crash::Lock(key) => self.locks[key].do_send(crash),
            Crash::Session => self.session.as_ref().unwrap().do_send(crash),
            Crash::Watch => self.watcher.as_ref().unwrap().do_send(crash),
            Crash::Supervisor => panic!("{crash:?}, on purpose"),
        }
    }
}
