use std::time::Duration;

use actix_dsync::{Campaign, Dsync, embedded::Embedded};

#[actix::test]
async fn another_replica_takes_over() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (one, two) = (consul.link(), consul.link());
    let first = Dsync::builder("shop").embedded(&one).on_current_arbiter().start().unwrap();
    let second = Dsync::builder("shop").embedded(&two).on_current_arbiter().start().unwrap();

    let leader = first.send(Campaign::default()).await.unwrap().elected().await;
    let follower = second.send(Campaign::default()).await.unwrap();
    one.cut();
    let next = tokio::time::timeout(Duration::from_secs(60), follower.elected()).await.unwrap();
    assert!(!leader.is_valid(), "it knew before the other was elected");
    assert!(next.token() > leader.token());
}
