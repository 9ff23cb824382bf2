//! What asking the runtime costs, without Consul's share.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::{hint::black_box, time::Duration};

use actix_dsync::{Acquire, Dsync, Embedded, Key, Unsubscribe};
use criterion::{Criterion, criterion_group, criterion_main};

fn messages(c: &mut Criterion) {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dsync = Dsync::builder("bench").embedded(&Embedded::new()).start().unwrap();
    let key = Key::new("bench/held").unwrap();
    let lease =
        threads.block_on(dsync.send(Acquire::new(key).within(Duration::from_secs(10)))).unwrap();

    let mut group = c.benchmark_group("messages");
    group.bench_function("is_valid", |b| b.iter(|| black_box(&lease).is_valid()));
    group.bench_function("remaining", |b| b.iter(|| black_box(&lease).remaining()));

    // A request that needs no Consul: straight in, and through a mailbox of actix
    // on the runtime's thread.
    let nothing = {
        let actor = actix_rt::System::new().block_on(async {
            use actix::Actor;
            let sink = Sink.start().recipient::<actix_dsync::LockLost>();
            dsync.send(actix_dsync::Subscribe::to(sink)).await
        });
        actor.unwrap()
    };
    let recipient = dsync.recipient::<Unsubscribe>();
    group.bench_function("round trip by handle", |b| {
        b.iter(|| threads.block_on(dsync.send(Unsubscribe(nothing))).unwrap());
    });
    group.bench_function("round trip by mailbox", |b| {
        b.iter(|| threads.block_on(recipient.send(Unsubscribe(nothing))).unwrap());
    });
    group.finish();
    drop(lease);
    threads.block_on(dsync.shutdown(Duration::from_secs(5))).unwrap();
}

struct Sink;

impl actix::Actor for Sink {
    type Context = actix::Context<Self>;
}

impl actix::Handler<actix_dsync::LockLost> for Sink {
    type Result = ();

    fn handle(&mut self, _: actix_dsync::LockLost, _: &mut Self::Context) {}
}

criterion_group!(benches, messages);
criterion_main!(benches);
