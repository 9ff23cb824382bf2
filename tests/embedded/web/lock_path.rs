//! A lock for the time of a request.

use std::{
    cell::RefCell,
    future::pending,
    io::Write as _,
    net::TcpStream,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_dsync::{
    Dsync, Key, LossReason, Lost, TryAcquire,
    embedded::Embedded,
    web::{HeldLease, LockPath},
};
use actix_web::{
    App, HttpResponse, HttpServer,
    body::{self, BodySize, MessageBody as _},
    dev::Service as _,
    test::{TestRequest, init_service},
    web::{self, Bytes, Data, Path, ServiceConfig},
};
use futures::{channel::mpsc, future::poll_fn};

use super::get;
use crate::{in_a_task, key, runtime, steps};

fn order() -> LockPath {
    LockPath::segment("id").under("orders")
}

/// Locks held in Consul.
fn held(consul: &Embedded) -> Vec<String> {
    let entries = consul.entries().into_iter();
    entries.filter(|entry| entry.session.is_some()).map(|entry| entry.key).collect()
}

type Chunk = Result<Bytes, actix_web::Error>;

#[actix::test]
async fn a_request_holds_its_lock_until_its_body_is_done_and_no_longer() {
    in_a_task(async {
        let consul = Embedded::new();
        let dsync = runtime("shop", &consul);
        let seen = Rc::new(RefCell::new(None));
        let (more, chunks) = mpsc::unbounded::<Chunk>();
        let chunks = Rc::new(RefCell::new(Some(chunks)));
        let (noted, body) = (seen.clone(), chunks.clone());
        let charge = move |lease: HeldLease| {
            noted.replace(Some(lease));
            let body = body.borrow_mut().take().unwrap();
            async move { HttpResponse::Ok().streaming(body) }
        };
        let app = App::new()
            .app_data(dsync.clone())
            .service(web::resource("/orders/{id}").wrap(order()).route(web::get().to(charge)));
        let app = init_service(app).await;

        let asked = TestRequest::get().uri("/orders/7").to_request();
        let response = app.call(asked).await.unwrap();
        let lease = seen.take().unwrap();
        assert_eq!((lease.key(), lease.is_valid()), (&key("orders/7"), true));
        assert!(lease.remaining() > Duration::from_secs(10));
        assert_eq!(held(&consul), ["orders/7"]);

        more.unbounded_send(Ok("half".into())).unwrap();
        let mut body = Box::pin(response.into_body());
        let first = poll_fn(|context| body.as_mut().poll_next(context)).await;
        assert_eq!(first.unwrap().unwrap(), "half");
        assert!(lease.is_valid());
        drop(more);
        assert!(poll_fn(|context| body.as_mut().poll_next(context)).await.is_none());
        assert!(!lease.is_valid(), "a copy does not keep the lock");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(held(&consul), Vec::<String>::new());
    })
    .await;
}

#[actix::test]
async fn a_request_that_is_given_up_after_any_number_of_steps_leaves_nothing_locked() {
    in_a_task(async {
        for count in 0..=40 {
            let consul = Embedded::new();
            let dsync = runtime("shop", &consul);
            let never =
                || async { HttpResponse::Ok().streaming(futures::stream::pending::<Chunk>()) };
            let app = App::new()
                .app_data(Data::new(dsync.clone()))
                .service(web::resource("/orders/{id}").wrap(order()).route(web::get().to(never)));
            let app = Rc::new(init_service(app).await);
            let asked = actix_rt::spawn(async move {
                let asked = TestRequest::get().uri("/orders/7").to_request();
                let _response = app.call(asked).await.unwrap();
                pending::<()>().await;
            });
            steps(count).await;
            asked.abort();
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(consul.entries(), [], "{count}");
            // And nothing of it contends.
            assert!(dsync.send(TryAcquire::new(key("orders/7"))).await.unwrap().is_valid());
        }
    })
    .await;
}

#[actix::test]
async fn a_request_waits_for_its_lock_for_a_bounded_time_and_others_are_free() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("shop", &consul), runtime("shop", &consul));
    let ok = || async { "charged" };
    let routes = |app: &mut ServiceConfig| {
        app.service(web::resource("/orders/{id}").wrap(order()).route(web::get().to(ok))).service(
            web::scope("/soon/{id}")
                .wrap(order().within(Duration::from_millis(500)))
                .route("/charge", web::get().to(ok)),
        );
    };
    let app = init_service(App::new().app_data(dsync).configure(routes)).await;

    let theirs = other.send(TryAcquire::new(key("orders/7"))).await.unwrap();
    for (path, limit) in
        [("/orders/7", LockPath::DEFAULT_WITHIN), ("/soon/7/charge", Duration::from_millis(500))]
    {
        let asked = tokio::time::Instant::now();
        let refused = get(&app, path).await;
        assert_eq!((refused.status, &refused.json()["error"]), (504, &"waited_too_long".into()));
        assert!(!refused.body.contains("session"), "{}", refused.body);
        let waited = asked.elapsed();
        assert!(waited >= limit && waited < limit + Duration::from_secs(1), "{waited:?}");
    }
    assert_eq!(get(&app, "/orders/8").await.body, "charged");
    drop(theirs);
    assert_eq!(get(&app, "/soon/7/charge").await.body, "charged");
}

#[actix::test]
async fn the_key_is_the_segment_as_a_handler_sees_it() {
    tokio::time::pause();
    let consul = Embedded::new();
    let name = |id: Path<String>, lease: HeldLease| async move {
        assert_eq!(lease.key(), &Key::join(["orders", id.as_str()]).unwrap());
        lease.key().to_string()
    };
    let app = App::new()
        .app_data(runtime("shop", &consul))
        .service(web::resource("/orders/{id}").wrap(order()).route(web::get().to(name)))
        .service(
            web::resource("/{id}/plain")
                .wrap(LockPath::segment("id"))
                .route(web::get().to(|lease: HeldLease| async move { lease.key().to_string() })),
        );
    let app = init_service(app).await;
    for (path, locked) in [
        ("/orders/7", "orders/7"),
        ("/orders/2024%2F17", "orders/2024%2F17"),
        ("/orders/2024%252F17", "orders/2024%252F17"),
        ("/orders/%C3%A9t%C3%A9", "orders/été"),
        ("/orders/%2E%2E", "orders/%2E%2E"),
        ("/orders/a%0Ab", "orders/a%0Ab"),
        ("/orders/%FF", "orders/\u{FFFD}"),
        ("/jobs/plain", "jobs"),
    ] {
        let seen = get(&app, path).await;
        assert_eq!((seen.status, seen.body.as_str()), (200, locked), "{path}");
    }
    let long = format!("/orders/{}", "x".repeat(Key::MAX_LEN));
    let refused = get(&app, &long).await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &"invalid".into()));
}

/// Says that it was dropped.
struct Dropped(Rc<RefCell<bool>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.replace(true);
    }
}

#[actix::test]
async fn a_handler_is_stopped_at_the_moment_of_loss() {
    tokio::time::pause();
    let consul = Embedded::new();
    let stopped = Rc::new(RefCell::new(false));
    let flag = stopped.clone();
    let work = move || {
        let dropped = Dropped(flag.clone());
        async move {
            pending::<()>().await;
            drop(dropped);
            "never"
        }
    };
    let app = App::new()
        .app_data(runtime("shop", &consul))
        .service(web::resource("/orders/{id}").wrap(order()).route(web::get().to(work)));
    let app = Rc::new(init_service(app).await);
    let asked = actix_rt::spawn({
        let app = app.clone();
        async move { get(&*app, "/orders/7").await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!*stopped.borrow());
    let session = consul.entries()[0].session.clone().unwrap();
    assert!(consul.destroy_session(&session));
    let seen = asked.await.unwrap();
    assert!(*stopped.borrow());
    assert_eq!((seen.status, &seen.json()["error"]), (503, &"lost".into()));
    assert_eq!(seen.header("retry-after"), None);
}

#[actix::test]
async fn a_body_that_is_there_as_a_whole_keeps_no_lock_however_late_it_is_read() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("shop", &consul);
    for size in [BodySize::Sized(4), BodySize::None] {
        let answer = move || async move {
            let mut response = HttpResponse::Ok();
            if size == BodySize::None {
                response.body(body::None::new())
            } else {
                response.body("done")
            }
        };
        let app = App::new()
            .app_data(dsync.clone())
            .service(web::resource("/orders/{id}").wrap(order()).route(web::get().to(answer)));
        let app = init_service(app).await;
        let response = app.call(TestRequest::get().uri("/orders/7").to_request()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(held(&consul), Vec::<String>::new());
        assert_eq!(response.response().body().size(), size);
    }
}

#[actix::test]
async fn a_body_that_is_being_produced_breaks_off_at_the_moment_of_loss() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (more, chunks) = mpsc::unbounded::<Chunk>();
    let chunks = Rc::new(RefCell::new(Some(chunks)));
    let work = move || {
        let body = chunks.borrow_mut().take().unwrap();
        async move { HttpResponse::Ok().streaming(body) }
    };
    let app = App::new()
        .app_data(runtime("shop", &consul))
        .service(web::resource("/orders/{id}").wrap(order()).route(web::get().to(work)));
    let app = init_service(app).await;
    let response = app.call(TestRequest::get().uri("/orders/7").to_request()).await.unwrap();
    let mut body = Box::pin(response.into_body());
    assert!(futures::poll!(poll_fn(|context| body.as_mut().poll_next(context))).is_pending());
    let session = consul.entries()[0].session.clone().unwrap();
    assert!(consul.destroy_session(&session));
    let lost = poll_fn(|context| body.as_mut().poll_next(context)).await.unwrap().unwrap_err();
    assert!(lost.downcast_ref::<Lost>().is_some_and(|lost| lost.reason == LossReason::SessionGone));
    assert!(more.is_closed(), "what produced it is gone");
    assert!(poll_fn(|context| body.as_mut().poll_next(context)).await.is_none());
}

#[actix::test]
async fn what_is_not_set_up_is_answered_500_and_says_what_is_missing() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("shop", &consul);
    let bare = App::new()
        .route("/handle", web::get().to(|_: Dsync| async { "" }))
        .route("/lease", web::get().to(|_: HeldLease| async { "" }))
        .service(web::resource("/orders/{id}").wrap(order()).to(|| async { "" }));
    let bare = init_service(bare).await;
    for (path, missing) in
        [("/handle", "app_data"), ("/orders/7", "app_data"), ("/lease", "LockPath")]
    {
        let seen = get(&bare, path).await;
        assert_eq!(seen.status, 500, "{path}");
        assert!(seen.body.contains(missing), "{path}: {}", seen.body);
    }
    let whole = App::new()
        .app_data(dsync.clone())
        .wrap(order())
        .route("/orders/{id}", web::get().to(|| async { "" }));
    let seen = get(&init_service(whole).await, "/orders/7").await;
    assert_eq!(seen.status, 500);
    assert!(seen.body.contains("segment"), "{}", seen.body);
    // Given in either way, the handle is found.
    for app in [
        App::new().app_data(dsync.clone()).route("/", web::get().to(|_: Dsync| async { "" })),
        App::new().app_data(Data::new(dsync)).route("/", web::get().to(|_: Dsync| async { "" })),
    ] {
        assert_eq!(get(&init_service(app).await, "/").await.status, 200);
    }
}

#[actix::test]
async fn a_client_that_goes_away_gives_the_lock_back() {
    // Sockets, so the real clock.
    let consul = Embedded::new();
    let dsync = Dsync::builder("shop").embedded(&consul).start().unwrap();
    let handle = dsync.clone();
    let begun = Arc::new(tokio::sync::Notify::new());
    let hang = begun.clone();
    let server = HttpServer::new(move || {
        let begun = hang.clone();
        let handler = move || {
            begun.notify_one();
            pending::<HttpResponse>()
        };
        App::new()
            .app_data(handle.clone())
            .service(web::resource("/orders/{id}").wrap(order()).to(handler))
    })
    .workers(1)
    .h1_allow_half_closed(false)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let stop = server.handle();
    let serving = actix_rt::spawn(server);

    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /orders/7 HTTP/1.1\r\nhost: shop\r\n\r\n").unwrap();
    tokio::time::timeout(Duration::from_secs(30), begun.notified()).await.unwrap();
    assert_eq!(held(&consul), ["orders/7"]);
    drop(client);
    let until = Instant::now() + Duration::from_secs(30);
    while !held(&consul).is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(held(&consul), Vec::<String>::new());
    stop.stop(false).await;
    serving.await.unwrap().unwrap();
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
}
