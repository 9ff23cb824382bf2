//! Requests that arrive as actix messages.

use std::pin::pin;

use actix::{
    dev::{MessageResponse, OneshotSender},
    prelude::*,
};
use futures::future::{Either, select};

use super::{intake::Intake, request::Request};
use crate::error::Error;

/// Receives the requests of one recipient. It lives on the runtime's thread as long as the
/// recipient exists, and keeps the runtime running.
pub(super) struct Desk(Intake);

impl Desk {
    pub(super) fn open(intake: &Intake) -> Addr<Self> {
        let taken_in = intake.clone();
        Self::start_in_arbiter(&intake.arbiter, move |_| Self(taken_in))
    }
}

impl Actor for Desk {
    type Context = Context<Self>;
}

impl<M> Handler<M> for Desk
where
    M: Request + Message<Result = Result<<M as Request>::Reply, Error>>,
{
    type Result = Asked<M>;

    fn handle(&mut self, request: M, _: &mut Context<Self>) -> Asked<M> {
        Asked { request, intake: self.0.clone() }
    }
}

/// A request from the mailbox. Whether somebody waits for its reply is known only when it
/// becomes a response.
pub(super) struct Asked<M> {
    request: M,
    intake: Intake,
}

impl<M> MessageResponse<Desk, M> for Asked<M>
where
    M: Request + Message<Result = Result<<M as Request>::Reply, Error>>,
{
    fn handle(self, _: &mut Context<Desk>, asker: Option<OneshotSender<M::Result>>) {
        let Self { request, intake } = self;
        if asker.is_none() && M::FOR_ITS_ANSWER {
            let request = std::any::type_name::<M>();
            tracing::warn!(request, "request ignored: nobody can receive its reply");
            return;
        }
        let answer = request.submit(&intake);
        let Some(mut asker) = asker else { return };
        actix_rt::spawn(async move {
            // Keeps the runtime running until the reply was sent.
            let _intake = intake;
            let answer = match select(pin!(asker.closed()), answer).await {
                Either::Left(_) => return,
                Either::Right((answer, _)) => answer,
            };
            // If the caller goes away at this moment, its lease is dropped and thereby released.
            let _ = asker.send(answer);
        });
    }
}
