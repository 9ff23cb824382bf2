//! Inside an actix-web service.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_dsync::{
    Campaign, Dsync, Error, LossReason, Release, Timing, TryAcquire, events::LockLost, web::Leader,
};
use actix_web::{App, HttpResponse, HttpServer, web};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::locks::{acquire, agent, at, key, pending, runtime};
use crate::process::{Player, input_ended, say};
use crate::support::eventually;
use crate::support::operator::Operator;
use crate::support::proxy::Proxy;
use crate::support::stalls::Stalls;

/// The longest delay of a worker's own timers.
type Starved = Arc<Mutex<Duration>>;

async fn block() -> HttpResponse {
    std::thread::sleep(Duration::from_millis(700));
    HttpResponse::Ok().finish()
}

/// Guards each order with its own lock.
async fn order(id: web::Path<String>, dsync: web::Data<Dsync>) -> HttpResponse {
    match dsync.send(TryAcquire::new(key(&format!("order/{id}")))).await {
        Ok(lease) => {
            let token = lease.token().to_string();
            let released = dsync.send(Release(lease)).await;
            assert!(released.is_ok());
            HttpResponse::Ok().body(token)
        }
        Err(Error::Held { .. }) => HttpResponse::Conflict().finish(),
        Err(error) => HttpResponse::ServiceUnavailable().body(error.to_string()),
    }
}

#[actix_web::test]
async fn handlers_that_block_a_worker_do_not_delay_renewals() {
    let proxy = Proxy::to(agent().http_addr());
    let timing = Timing::fast_failover();
    // Start it in a worker, the worst place: the runtime still has its own thread.
    let (sender, started) = std::sync::mpsc::channel();
    let (url, starved) = (proxy.url(), Starved::default());
    let measured = starved.clone();
    let once = Arc::new(Mutex::new(Some(sender)));
    let renew_period = timing.renew_period();
    let server = HttpServer::new(move || {
        if let Some(sender) = once.lock().expect("no panic").take() {
            let dsync =
                at(url.clone(), "blocked").timing(timing.clone()).start().expect("valid settings");
            sender.send(dsync).expect("the test waits");
            let starved = measured.clone();
            actix_rt::spawn(async move {
                loop {
                    let before = Instant::now();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let mut longest = starved.lock().expect("no panic");
                    *longest = longest.max(before.elapsed());
                }
            });
        }
        App::new().route("/block", web::get().to(block))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .expect("a free port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let serving = actix_rt::spawn(server);
    let dsync = tokio::task::spawn_blocking(move || started.recv().expect("a worker")).await;
    let dsync = dsync.expect("no panic");
    let mut lost = dsync.events::<LockLost>(actix_dsync::events::Filter::All);
    let lease = acquire(&dsync, "k").await;
    let (began, stalls) = (Instant::now(), Stalls::watch());
    let clients: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(move || {
                let client = Operator::new(address).limit(Duration::from_secs(30));
                while began.elapsed() < Duration::from_secs(12) {
                    assert_eq!(client.ask("GET", "/block", b"").expect("an answer").status, 200);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(12)).await;
    let until = Instant::now();
    assert!(lease.is_valid());
    assert_eq!(pending(&mut lost), []);
    let renewals: Vec<_> = proxy
        .requests("/v1/session/renew/")
        .iter()
        .map(|seen| seen.at)
        .filter(|at| *at > began && *at < until)
        .collect();
    let gap = renewals.windows(2).map(|pair| pair[1] - pair[0]).max().expect("renewals");
    let starved = *starved.lock().expect("no panic");
    eprintln!("worker starved for {starved:?}; longest time between renewals {gap:?}");
    assert!(starved > Duration::from_millis(650), "the worker was to be blocked: {starved:?}");
    let late = Duration::from_millis(500) + 2 * stalls.longest();
    assert!(gap < renew_period + late, "{gap:?}, and {late:?} may be lost");
    tokio::task::spawn_blocking(|| {
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
    })
    .await
    .expect("no panic");
    drop(lease);
    handle.stop(false).await;
    serving.await.expect("no panic").expect("a server that ended well");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[actix_web::test]
async fn shutdown_after_the_server_returned_hands_everything_on_at_once() {
    let dsync = runtime("served");
    let data = web::Data::new(dsync.clone());
    let server = HttpServer::new(move || {
        App::new().app_data(data.clone()).route("/order/{id}", web::put().to(order))
    })
    .workers(2)
    .disable_signals()
    .bind("127.0.0.1:0")
    .expect("a free port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let serving = actix_rt::spawn(server);
    let other = runtime("served");
    let held = acquire(&other, "order/2").await;
    let answers = tokio::task::spawn_blocking(move || {
        let ask = |path| Operator::new(address).ask("PUT", path, b"").expect("an answer").status;
        [ask("/order/1"), ask("/order/2"), ask("/order/1")]
    });
    assert_eq!(answers.await.expect("no panic"), [200, 409, 200]);
    drop(held);

    let lease = acquire(&dsync, "leader").await;
    let waiting = actix_rt::spawn({
        let other = other.clone();
        async move { (acquire(&other, "leader").await, Instant::now()) }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    handle.stop(true).await;
    serving.await.expect("no panic").expect("a server that ended well");
    assert!(lease.is_valid(), "the server's end is not the runtime's");
    let session = agent().operator().kv_get("served/leader").and_then(|entry| entry.session);
    let (asked, stalls) = (Instant::now(), Stalls::watch());
    let ended = dsync.shutdown(Duration::from_secs(5)).await;
    ended.expect("an orderly end");
    assert!(!lease.is_valid());
    assert_eq!(lease.lost().await, LossReason::Shutdown);
    let (second, granted) = waiting.await.expect("no panic");
    let took = granted - asked;
    assert!(took < Duration::from_secs(1) + 4 * stalls.longest(), "{took:?}");
    assert!(second.token() > lease.token());
    let sessions = agent().operator().sessions();
    assert!(sessions.iter().all(|known| Some(&known.id) != session.as_ref()), "not destroyed");
    assert_eq!(dsync.shutdown(Duration::from_secs(5)).await, Ok(()), "again");
    drop(second);
    other.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_ends_in_the_background_when_the_last_of_its_handles_and_leases_is_dropped() {
    let dsync = runtime("forgotten");
    let lease = acquire(&dsync, "k").await;
    let operator = agent().operator();
    let session = operator.kv_get("forgotten/k").and_then(|entry| entry.session).expect("held");
    drop(dsync);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(lease.is_valid(), "a lease keeps the runtime");
    drop(lease);
    let gone = || {
        let sessions = operator.sessions();
        (sessions.iter().all(|known| known.id != session)).then_some(())
    };
    assert!(eventually(Duration::from_secs(5), gone).is_some(), "the session lives on");
    assert_eq!(operator.kv_keys("forgotten/"), Vec::<String>::new());
}

/// A request that lasts until the input of this process ends. It began while this process led.
async fn slow(_: Leader) -> &'static str {
    say("working");
    input_ended().await;
    "done"
}

/// A service that ends as the README shows it.
pub(crate) async fn serve(url: &str, prefix: &str) {
    let dsync = at(url, prefix).start().expect("valid settings");
    let tenure = dsync.send(Campaign::default()).await.expect("a campaign");
    tenure.elected().await;
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for signals");
    let told_to_end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let shared = tenure.clone();
    let app = move || App::new().app_data(shared.clone()).route("/slow", web::get().to(slow));
    let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").expect("a free port");
    say(&server.addrs()[0].to_string());
    let end = dsync.hand_over_on(told_to_end, Duration::from_secs(30));
    server.shutdown_signal(end).shutdown_timeout(60).run().await.expect("an orderly end");
    dsync.shutdown(Duration::from_secs(30)).await.expect("an orderly end");
}

/// The response, up to the end of its connection.
fn get(address: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("a server that listens");
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n").expect("a server that reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("a response");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_told_to_end_hands_over_and_then_finishes_its_requests() {
    for (told, prefix) in [(Signal::TERM, "sigterm"), (Signal::INT, "sigint")] {
        let mut service = Player::start("serve", &agent().url(), prefix);
        let address = service.says();
        let asked = tokio::task::spawn_blocking(move || get(&address, "/slow"));
        assert_eq!(service.says(), "working");
        let other = runtime(prefix);
        let tenure = other.send(Campaign::default()).await.expect("a campaign");
        service.signal(told);
        let elected = tokio::time::timeout(Duration::from_secs(30), tenure.elected()).await;
        assert!(elected.is_ok(), "{told:?}: the leader has not handed over");
        assert!(!asked.is_finished(), "{told:?}: the request was dropped");
        service.go_on();
        let answer = asked.await.expect("no panic");
        assert!(answer.ends_with("done"), "{told:?}: {answer}");
        service.ended();
        other.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
        assert_eq!(agent().operator().kv_keys(&format!("{prefix}/")), Vec::<String>::new());
    }
}
