//! The cost of requests that the runtime answers without Consul.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

mod support;

use std::{cell::RefCell, hint::black_box, time::Duration};

use actix_dsync::{Acquire, Campaign, Dsync, Key, embedded::Embedded, events::Unsubscribe};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use support::{row, timed};

/// Measures `work` and prints the median of the samples.
fn bench<T>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut work: impl FnMut() -> T) {
    let samples = RefCell::new(Vec::new());
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let ((), took) = timed(|| {
                for _ in 0..rounds {
                    black_box(work());
                }
            });
            samples.borrow_mut().push(took.as_nanos() as f64 / rounds as f64);
            took
        });
    });
    let mut samples = samples.into_inner();
    samples.sort_by(f64::total_cmp);
    row(format_args!("messages.{}", name.replace(' ', "_")), samples[samples.len() / 2], "ns");
}

fn messages(c: &mut Criterion) {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dsync = Dsync::builder("bench").embedded(&Embedded::new()).start().unwrap();
    let key = Key::new("bench/held").unwrap();
    let lease =
        threads.block_on(dsync.send(Acquire::new(key).within(Duration::from_secs(10)))).unwrap();

    let mut group = c.benchmark_group("messages");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    bench(&mut group, "is_valid", || black_box(&lease).is_valid());
    bench(&mut group, "remaining", || black_box(&lease).remaining());

    // The checks of a leader-only handler, and of a health check.
    let tenure = threads.block_on(dsync.send(Campaign::default())).unwrap();
    threads.block_on(tenure.elected());
    bench(&mut group, "is_leader", || black_box(&tenure).is_leader());
    bench(&mut group, "term", || black_box(&tenure).term());
    bench(&mut group, "health", || black_box(&dsync).health());

    // A request that needs no Consul: directly, and through an actix mailbox on the
    // runtime's thread.
    let nothing = {
        let actor = actix_rt::System::new().block_on(async {
            use actix::Actor;
            let sink = Sink.start().recipient::<actix_dsync::events::LockLost>();
            dsync.send(actix_dsync::events::Subscribe::to(sink)).await
        });
        actor.unwrap()
    };
    let recipient = dsync.recipient::<Unsubscribe>();
    bench(&mut group, "round trip by handle", || {
        threads.block_on(dsync.send(Unsubscribe(nothing))).unwrap();
    });
    bench(&mut group, "round trip by mailbox", || {
        threads.block_on(recipient.send(Unsubscribe(nothing))).unwrap().unwrap();
    });
    group.finish();
    drop(lease);
    threads.block_on(dsync.shutdown(Duration::from_secs(5))).unwrap();
}

struct Sink;

impl actix::Actor for Sink {
    type Context = actix::Context<Self>;
}

impl actix::Handler<actix_dsync::events::LockLost> for Sink {
    type Result = ();

    fn handle(&mut self, _: actix_dsync::events::LockLost, _: &mut Self::Context) {}
}

criterion_group!(benches, messages);
criterion_main!(benches);
