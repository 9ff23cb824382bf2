//! Two replicas of a web service, of which only the leader writes. The other one redirects clients.
//!
//! ```sh
//! cargo run --example leader_writes
//! ```

#[path = "support/mod.rs"]
mod support;

use std::{net::TcpListener, time::Duration};

use actix_dsync::{
    Campaign, Dsync, Lost, Tenure,
    web::{Leader, LeaderConfig},
};
use actix_web::{App, HttpServer, dev::ServerHandle, http::header::LOCATION, put, web};

use support::Store;

const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The write stops if this replica no longer leads; its token lets the database refuse a late one.
#[put("/price/{article}")]
async fn set_price(article: web::Path<String>, leader: Leader) -> Result<String, Lost> {
    leader.run(tokio::time::sleep(Duration::from_millis(50))).await?;
    Ok(format!("price of {article} set, fenced by {}", leader.token()))
}

struct Replica {
    port: u16,
    dsync: Dsync,
    tenure: Tenure,
    server: ServerHandle,
}

impl Replica {
    async fn start(store: &Store) -> Result<Self, Box<dyn std::error::Error>> {
        // First the port: a process that cannot serve must not lead.
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let dsync = store.replica("prices")?.advertise("127.0.0.1", port).start()?;
        let tenure = dsync.send(Campaign::default()).await?;
        let shared = tenure.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .app_data(LeaderConfig::redirect().only(|host, _| host == "127.0.0.1"))
                .service(set_price)
        })
        .workers(1)
        .disable_signals()
        .listen(listener)?
        .run();
        let handle = server.handle();
        actix::spawn(server);
        Ok(Self { port, dsync, tenure, server: handle })
    }

    async fn stop(self) -> Result<(), actix_dsync::Error> {
        self.dsync.hand_over(STOP_LIMIT).await?; // first: another replica leads at once
        self.server.stop(true).await;
        self.dsync.shutdown(STOP_LIMIT).await
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::find();
    let (one, two) = (Replica::start(&store).await?, Replica::start(&store).await?);
    one.tenure.elected().await;
    println!("port {} leads, port {} follows", one.port, two.port);
    // A follower learns of the leader from Consul, a moment later.
    while two.tenure.leader().is_none() {
        two.tenure.changed().await;
    }
    put(one.port).await?;
    put(two.port).await?;

    println!("port {} ends", one.port);
    one.stop().await?;
    two.tenure.elected().await;
    put(two.port).await?;
    two.stop().await?;
    Ok(())
}

/// A client that follows one redirection.
async fn put(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let client = awc::Client::builder().disable_redirects().finish();
    let mut url = format!("http://127.0.0.1:{port}/price/7");
    for _ in 0..2 {
        let mut answer = client.put(&url).send().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer.body().await?).into_owned();
        println!("  PUT {url}: {} {text}", answer.status());
        match answer.headers().get(LOCATION) {
            Some(leader) => url = leader.to_str()?.to_owned(),
            None => break,
        }
    }
    Ok(())
}
