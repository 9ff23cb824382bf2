//! Three replicas elect a leader, lose it, and elect another: a timeline of half a minute,
//! with an embedded Consul.
//!
//! ```sh
//! cargo run --example election
//! ```
//!
//! Each replica behaves like a separate process: it has its own runtime, session and
//! network to Consul. All start the same singleton. The timing is
//! [`Timing::fast_failover`]. The agent ends sessions at their TTL, the earliest that
//! Consul allows; Consul 1.8 takes up to twice as long.

mod replica;
mod timeline;

use std::{process::ExitCode, time::Duration};

use actix_dsync::{Error, Resign, embedded::Embedded};

use crate::{replica::Replica, timeline::Timeline};

const NAMES: [&str; 3] = ["anna", "ben", "chloe"];
/// The pause between two events.
const PEACE: Duration = Duration::from_secs(4);
/// How long a replica that resigned does not contend.
const COOL_DOWN: Duration = Duration::from_secs(2);
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[actix_web::main]
async fn main() -> ExitCode {
    match play(&Timeline::start()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("election: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(timeline: &Timeline) -> Result<(), Box<dyn std::error::Error>> {
    let consul = Embedded::new().strict_ttl(true);

    timeline.scene("three replicas campaign");
    let mut replicas = Vec::new();
    for name in NAMES {
        replicas.push(Replica::start(name, &consul, timeline)?);
    }
    let first = leader(&replicas, None).await;
    tokio::time::sleep(PEACE).await;

    timeline.scene(&format!("the network of {} is cut off", first.name()));
    first.link().cut();
    let second = leader(&replicas, Some(first)).await;
    tokio::time::sleep(PEACE).await;

    timeline.scene(&format!("the network of {} is mended", first.name()));
    first.link().mend();
    tokio::time::sleep(PEACE).await;

    timeline.scene(&format!("{} resigns", second.name()));
    second.dsync().send(Resign::of(second.tenure()).cool_down(COOL_DOWN)).await?;
    let third = leader(&replicas, Some(second)).await;
    tokio::time::sleep(PEACE).await;

    timeline.scene(&format!("{} is told to end, and hands over first", third.name()));
    third.dsync().hand_over(STOP_LIMIT).await?;
    leader(&replicas, Some(third)).await;
    tokio::time::sleep(PEACE).await;

    timeline.scene("all replicas end");
    let ended = replicas.iter().map(|replica| replica.dsync().shutdown(STOP_LIMIT));
    let ended: Result<Vec<()>, Error> = futures::future::try_join_all(ended).await;
    ended?;
    timeline.sum_up();
    Ok(())
}

/// Waits until a replica other than `former` leads, and returns it.
async fn leader<'a>(replicas: &'a [Replica], former: Option<&Replica>) -> &'a Replica {
    let campaigns = replicas.iter().filter(|it| former.is_none_or(|old| old.name() != it.name()));
    let elected = campaigns.map(|replica| {
        Box::pin(async move {
            replica.tenure().elected().await;
            replica
        })
    });
    futures::future::select_all(elected).await.0
}
