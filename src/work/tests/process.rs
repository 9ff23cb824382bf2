//! A process that can be stopped like by SIGSTOP, and killed.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::task::LocalSet;

/// The tasks of one process. They are polled unless it is stopped. Time goes on.
pub(super) struct Process(Rc<State>);

struct State {
    /// `None` once it was killed.
    tasks: RefCell<Option<LocalSet>>,
    is_stopped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Process {
    pub(super) fn start(main: impl Future<Output = ()> + 'static) -> Self {
        let tasks = LocalSet::new();
        tasks.spawn_local(main);
        let (tasks, is_stopped, waker) = (RefCell::new(Some(tasks)), Cell::new(false), None);
        let state = Rc::new(State { tasks, is_stopped, waker: waker.into() });
        actix_rt::spawn(Running(state.clone()));
        Self(state)
    }

    pub(super) fn stop(&self) {
        self.0.is_stopped.set(true);
    }

    pub(super) fn go_on(&self) {
        self.0.is_stopped.set(false);
        self.0.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Process {
    /// Kills it: nothing of it runs any more but destructors.
    fn drop(&mut self) {
        drop(self.0.tasks.take());
        self.go_on();
    }
}

/// Polls the tasks of a process.
struct Running(Rc<State>);

impl Future for Running {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let State { tasks, is_stopped, waker } = &*self.0;
        waker.replace(Some(context.waker().clone()));
        if is_stopped.get() {
            return Poll::Pending;
        }
        match &mut *tasks.borrow_mut() {
            Some(tasks) => Pin::new(tasks).poll(context),
            None => Poll::Ready(()),
        }
    }
}
