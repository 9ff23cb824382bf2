use actix::prelude::*;
use actix_dsync::{Acquire, Error, FencingToken, Key, Lease, LossReason, embedded::MockLease};

/// Grants each lock, with tokens in ascending order.
#[derive(Default)]
struct Grants(Vec<MockLease>);

impl Actor for Grants {
    type Context = Context<Self>;
}

impl Handler<Acquire> for Grants {
    type Result = Result<Lease, Error>;

    fn handle(&mut self, asked: Acquire, _: &mut Self::Context) -> Self::Result {
        let token = FencingToken::try_from(self.0.len() as u64 + 1).unwrap();
        let (lease, mock) = MockLease::new(asked.key().clone(), token);
        self.0.push(mock);
        Ok(lease)
    }
}

/// Loses all leases.
#[derive(Message)]
#[rtype(result = "()")]
struct Lose;

impl Handler<Lose> for Grants {
    type Result = ();

    fn handle(&mut self, _: Lose, _: &mut Self::Context) {
        self.0.iter().for_each(|mock| mock.lose(LossReason::SessionGone));
    }
}

#[actix::test]
async fn the_work_ends_with_its_lock() {
    let grants = Grants::default().start();
    let locks: Recipient<Acquire> = grants.clone().recipient();
    let lease = locks.send(Acquire::new(Key::new("orders/7").unwrap())).await.unwrap().unwrap();
    assert_eq!((lease.key().as_str(), lease.token().as_u64()), ("orders/7", 1));
    grants.send(Lose).await.unwrap();
    assert!(lease.run(async { "charged" }).await.is_err());
}
