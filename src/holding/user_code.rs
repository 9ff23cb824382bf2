//! Runs user code until its lease, term or job is over.

use std::{future::Future, pin::pin};

#[cfg(test)]
use futures::FutureExt as _;
use futures::future::{Either, select};

#[cfg(test)]
use crate::mutation::Mutation;

/// Runs the user's `work` until `over` completes, and drops it then, before this returns.
///
/// `over` is polled first each time. If it reads the clock, as
/// [`LeaseState::invalid`](super::lease_state::LeaseState::invalid) does, the work of a process
/// that was stopped is not polled after its term.
///
/// # Errors
/// The output of `over`, if it completes first.
pub(crate) async fn run_until<O: Future, W: Future>(
    over: O,
    work: W,
) -> Result<W::Output, O::Output> {
    let (over, work) = (pin!(over), pin!(work));
    match select(over, work).await {
        #[cfg(test)]
        Either::Left((end, work)) if Mutation::WorkOutlivesTerm.is_chosen() => {
            let _ = work.now_or_never();
            Err(end)
        }
        Either::Left((end, _)) => Err(end),
        Either::Right((output, _)) => Ok(output),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::future::{poll_fn, ready};

    use super::*;

    /// How often user code is polled although its term is over.
    fn polls_after_the_end() -> u32 {
        let mut polls = 0;
        let work = poll_fn(|_| {
            polls += 1;
            Poll::Ready(())
        });
        let _ = run_until(ready(()), work).now_or_never();
        polls
    }

    #[test]
    fn no_user_code_runs_once_its_term_is_over() {
        assert_eq!(polls_after_the_end(), 0);
        Mutation::choose(Some(Mutation::WorkOutlivesTerm));
        assert_eq!(polls_after_the_end(), 1, "the test notices the broken rule");
        Mutation::choose(None);
    }
}
