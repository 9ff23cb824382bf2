use std::time::Duration;

use actix_dsync::{Acquire, Dsync, Key, LossReason, embedded::Embedded};

#[actix::test]
async fn the_work_stops_when_the_network_is_silent() {
    tokio::time::pause();
    let consul = Embedded::new();
    // On this thread and on Tokio's clock, which is paused.
    let dsync = Dsync::builder("shop").embedded(&consul).on_current_arbiter().start().unwrap();
    let lease = dsync.send(Acquire::new(Key::new("orders/7").unwrap())).await.unwrap();

    consul.cut();
    // Tokio advances the paused clock to the deadline.
    let lost = lease.run(tokio::time::sleep(Duration::from_secs(60))).await.unwrap_err();
    assert_eq!(lost.reason, LossReason::DeadlinePassed);
}
