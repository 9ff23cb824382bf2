use std::{cell::Cell, rc::Rc, time::Duration};

use actix::{Actor, Context, Handler};
use actix_dsync::{
    Acquire, Dsync, FencingToken, Key, LossReason,
    embedded::Embedded,
    events::{LockLost, Subscribe},
};

/// The service under test: it stops sending when its lock is lost.
struct Sender {
    stopped: Rc<Cell<Option<LossReason>>>,
}

impl Actor for Sender {
    type Context = Context<Self>;
}

impl Handler<LockLost> for Sender {
    type Result = ();

    fn handle(&mut self, lost: LockLost, _: &mut Self::Context) {
        self.stopped.set(Some(lost.reason));
    }
}

#[actix::test]
async fn the_sender_stops_when_its_lock_is_lost() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = Dsync::on_embedded("shop", &consul);
    let stopped = Rc::new(Cell::new(None));
    let sender = Sender { stopped: stopped.clone() }.start();
    let subscribe = Subscribe::to(sender.clone().recipient::<LockLost>());
    dsync.send(subscribe).await.unwrap();
    let lease = dsync.send(Acquire::new(Key::new("mail").unwrap())).await.unwrap();

    consul.expire_sessions("shop");
    lease.lost().await;
    // The event is on its way to the actor.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(stopped.take(), Some(LossReason::SessionGone));

    // The handler alone, without any lock.
    let token = FencingToken::try_from(7_u64).unwrap();
    let lost = LockLost::mock(Key::new("mail").unwrap(), token, LossReason::DeadlinePassed);
    sender.send(lost).await.unwrap();
    assert_eq!(stopped.take(), Some(LossReason::DeadlinePassed));
}
