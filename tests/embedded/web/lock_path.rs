//! A lock for the duration of a request.

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
    Campaign, Dsync, Error, Key, List, LossReason, Lost, Observe, TryAcquire, UpdateValue,
    config::Limits,
    embedded::Embedded,
    web::{HeldLease, LockPath},
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::{self, BodySize, MessageBody as _},
    dev::Service as _,
    http::Method,
    test::{TestRequest, init_service},
    web::{self, Bytes, Data, Path, ServiceConfig},
};
use futures::{channel::mpsc, future::poll_fn};

use super::{ask, get};
use crate::{in_a_task, key, runtime, steps};

fn order() -> LockPath {
    LockPath::segment("id").under("orders")
}

/// Locks held in Consul.
fn held(consul: &Embedded) -> Vec<String> {
    let entries = consul.entries().into_iter();
    entries.filter(|entry| entry.session.is_some()).map(|entry| entry.key).collect()
}

const SECOND: Duration = Duration::from_secs(1);

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
            .route("/orders/{id}", web::get().to(charge).wrap(order()));
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
async fn a_request_that_is_dropped_after_any_number_of_steps_leaves_nothing_locked() {
    in_a_task(async {
        for count in 0..=40 {
            let consul = Embedded::new();
            let dsync = runtime("shop", &consul);
            let never =
                || async { HttpResponse::Ok().streaming(futures::stream::pending::<Chunk>()) };
            let app = App::new()
                .app_data(Data::new(dsync.clone()))
                .route("/orders/{id}", web::get().to(never).wrap(order()));
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
            // It no longer contends either.
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
        let soon = order().within(Duration::from_millis(500));
        app.route("/orders/{id}", web::get().to(ok).wrap(order()));
        app.service(web::scope("/soon/{id}").route("/charge", web::get().to(ok).wrap(soon)));
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
        // It can be written under.
        assert_eq!(UpdateValue::of(&lease, "charging").key(), lease.key());
        lease.key().to_string()
    };
    let app = App::new()
        .app_data(runtime("shop", &consul))
        .route("/orders/{id}", web::get().to(name).wrap(order()))
        .route(
            "/{id}/plain",
            web::get()
                .to(|lease: HeldLease| async move { lease.key().to_string() })
                .wrap(LockPath::segment("id")),
        );
    let app = init_service(app).await;
    for (path, locked) in [
        ("/orders/7", "orders/7"),
        ("/orders/2024%2F17", "orders/2024=2F17"),
        ("/orders/2024%252F17", "orders/2024=252F17"),
        ("/orders/%C3%A9t%C3%A9", "orders/=C3=A9t=C3=A9"),
        ("/orders/%2E%2E", "orders/=2E=2E"),
        ("/orders/a%0Ab", "orders/a=0Ab"),
        ("/orders/%FF", "orders/=EF=BF=BD"),
        ("/jobs/plain", "jobs"),
    ] {
        let seen = get(&app, path).await;
        assert_eq!((seen.status, seen.body.as_str()), (200, locked), "{path}");
    }
    let long = format!("/orders/{}", "x".repeat(Key::MAX_LEN));
    let refused = get(&app, &long).await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &"invalid".into()));
}

/// Reports that it was dropped.
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
        .route("/orders/{id}", web::get().to(work).wrap(order()));
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
async fn a_complete_body_holds_no_lock_even_if_it_is_read_late() {
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
            .route("/orders/{id}", web::get().to(answer).wrap(order()));
        let app = init_service(app).await;
        let response = app.call(TestRequest::get().uri("/orders/7").to_request()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(held(&consul), Vec::<String>::new());
        assert_eq!(response.response().body().size(), size);
    }
}

#[actix::test]
async fn a_body_that_is_being_produced_is_aborted_at_the_moment_of_loss() {
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
        .route("/orders/{id}", web::get().to(work).wrap(order()));
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
async fn an_incomplete_setup_is_answered_500_and_names_what_is_missing() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("shop", &consul);
    let bare = App::new()
        .route("/handle", web::get().to(|_: Dsync| async { "" }))
        .route("/lease", web::get().to(|_: HeldLease| async { "" }))
        .route("/orders/{id}", web::get().to(|| async { "" }).wrap(order()));
    let bare = init_service(bare).await;
    for (path, missing) in
        [("/handle", "app_data"), ("/orders/7", "app_data"), ("/lease", "LockPath")]
    {
        let seen = get(&bare, path).await;
        assert_eq!(seen.status, 500, "{path}");
        assert!(seen.body.contains(missing), "{path}: {}", seen.body);
    }
    let other = App::new()
        .app_data(dsync.clone())
        .route("/orders/{name}", web::get().to(|| async { "" }).wrap(order()));
    let seen = get(&init_service(other).await, "/orders/7").await;
    assert_eq!(seen.status, 500);
    assert!(seen.body.contains("segment"), "{}", seen.body);
    // The handle is found in both places.
    for app in [
        App::new().app_data(dsync.clone()).route("/", web::get().to(|_: Dsync| async { "" })),
        App::new().app_data(Data::new(dsync)).route("/", web::get().to(|_: Dsync| async { "" })),
    ] {
        assert_eq!(get(&init_service(app).await, "/").await.status, 200);
    }
}

#[actix::test]
async fn only_requests_that_reach_a_handler_take_a_lock() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("shop", &consul), runtime("shop", &consul));
    let app = App::new().app_data(dsync.clone()).service(
        web::scope("/orders")
            .route("/{id}", web::post().to(|| async { "charged" }).wrap(order()))
            .route("/{id}", web::get().to(|| async { "shown" })),
    );
    let app = init_service(app).await;
    // A request for this lock would wait for five seconds.
    let _theirs = other.send(TryAcquire::new(key("orders/7"))).await.unwrap();
    let asked = tokio::time::Instant::now();
    for (method, path, status) in [
        (Method::OPTIONS, "/orders/7", 404),
        (Method::DELETE, "/orders/7", 404),
        (Method::POST, "/orders/7/unknown", 404),
        (Method::GET, "/orders/7", 200),
    ] {
        let request = TestRequest::default().method(method.clone()).uri(path);
        assert_eq!(ask(&app, request).await.status, status, "{method} {path}");
    }
    let one = web::resource("/one/{id}").route(web::post().to(|| async { "" }).wrap(order()));
    let one = init_service(App::new().app_data(dsync.clone()).service(one)).await;
    assert_eq!(get(&one, "/one/7").await.status, 405);
    assert!(asked.elapsed() < Duration::from_millis(10), "something was waited for");
    assert_eq!(dsync.send(List).await.unwrap().keys, []);
    assert_eq!(consul.entries().len(), 1);
    let charged = ask(&app, TestRequest::post().uri("/orders/7")).await;
    assert_eq!(charged.json()["error"], "waited_too_long");
}

#[actix::test]
async fn a_flood_of_keys_that_clients_choose_stops_neither_elections_nor_other_locks() {
    tokio::time::pause();
    let consul = Embedded::new();
    let limits = Limits::default().with_keys(20);
    let builder = Dsync::builder("shop").embedded(&consul).on_current_arbiter();
    let dsync = builder.limits(limits).start().unwrap();
    dsync.ready().await.unwrap();
    let app = App::new().app_data(dsync.clone()).route(
        "/orders/{id}",
        web::get().to(pending::<HttpResponse>).wrap(order().within(Duration::MAX)),
    );
    let app = Rc::new(init_service(app).await);
    let flood: Vec<_> = (0..40)
        .map(|id| {
            let app = app.clone();
            actix_rt::spawn(async move { get(&*app, &format!("/orders/{id}")).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = flood.iter().filter(|request| request.is_finished()).count();
    assert_eq!(refused, 40 - 9, "half of what locks may have is theirs");
    let mut locks = Vec::new();
    let full = loop {
        match dsync.send(TryAcquire::new(key(&format!("own/{}", locks.len())))).await {
            Ok(lease) => locks.push(lease),
            Err(error) => break error,
        }
    };
    assert_eq!((locks.len(), full), (9, Error::TooManyKeys { key: key("own/9"), limit: 18 }));
    // The keys reserved for campaigns.
    let tenure = dsync.send(Campaign::default()).await.unwrap();
    tenure.elected().await;
    let _watched = dsync.send(Observe(key("watched"))).await.unwrap();
    for request in flood {
        if request.is_finished() {
            let seen = request.await.unwrap();
            assert_eq!((seen.status, &seen.json()["error"]), (503, &"busy".into()));
        } else {
            request.abort();
        }
    }
}

#[actix::test]
async fn a_request_that_holds_its_lock_too_long_is_stopped_and_the_lock_released() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("shop", &consul);
    let limit = Duration::from_secs(3);
    let stopped = Rc::new(RefCell::new(false));
    let flag = stopped.clone();
    let never = move || {
        let dropped = Dropped(flag.clone());
        async move {
            pending::<()>().await;
            drop(dropped);
            "never"
        }
    };
    let stream = || async { HttpResponse::Ok().streaming(futures::stream::pending::<Chunk>()) };
    let app = App::new()
        .app_data(dsync.clone())
        .route("/never/{id}", web::get().to(never.clone()).wrap(order().at_most(limit)))
        .route("/default/{id}", web::get().to(never).wrap(order()))
        .route("/stream/{id}", web::get().to(stream).wrap(order().at_most(limit)))
        .route("/endless/{id}", web::get().to(stream).wrap(order().at_most(Duration::MAX)));
    let app = init_service(app).await;
    for (path, limit) in [("/never/7", limit), ("/default/7", LockPath::DEFAULT_AT_MOST)] {
        let asked = tokio::time::Instant::now();
        let seen = get(&app, path).await;
        let took = asked.elapsed();
        assert!(took >= limit && took < limit + Duration::from_secs(1), "{path}: {took:?}");
        assert_eq!((seen.status, &seen.json()["error"]), (503, &"held_too_long".into()));
        assert_eq!(seen.header("retry-after"), None);
        assert!(stopped.replace(false));
    }
    // The client reads nothing, so nobody polls the body.
    let response = app.call(TestRequest::get().uri("/stream/7").to_request()).await.unwrap();
    tokio::time::sleep(limit - Duration::from_secs(1)).await;
    assert_eq!(held(&consul), ["orders/7"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(held(&consul), Vec::<String>::new());
    let mut body = Box::pin(response.into_body());
    let end = poll_fn(|context| body.as_mut().poll_next(context)).await.unwrap().unwrap_err();
    assert_eq!(end.to_string(), "the request held its lock for 3s and was stopped");
    assert!(poll_fn(|context| body.as_mut().poll_next(context)).await.is_none());
    let endless = app.call(TestRequest::get().uri("/endless/7").to_request()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert_eq!(held(&consul), ["orders/7"]);
    drop(endless);
}

#[actix::test]
async fn a_request_that_nobody_polls_any_more_neither_waits_nor_holds_longer_than_allowed() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("shop", &consul), runtime("shop", &consul));
    let begun = Rc::new(RefCell::new(0));
    let counted = begun.clone();
    let never = move || {
        *counted.borrow_mut() += 1;
        pending::<HttpResponse>()
    };
    let app = App::new().app_data(dsync).route("/orders/{id}", web::get().to(never).wrap(order()));
    let app = init_service(app).await;
    let limits = LockPath::DEFAULT_WITHIN + LockPath::DEFAULT_AT_MOST + SECOND;
    // How many times the request is polled, a second each: not at all, while it waits, and while
    // its handler runs.
    for (is_held, polls, begins) in [(false, 1, 0), (true, 1, 0), (true, 2, 0), (false, 2, 1)] {
        begun.replace(0);
        let theirs = match is_held {
            true => Some(other.send(TryAcquire::new(key("orders/7"))).await.unwrap()),
            false => None,
        };
        let mut asked = Box::pin(app.call(TestRequest::get().uri("/orders/7").to_request()));
        for _ in 0..polls {
            assert!(futures::poll!(&mut asked).is_pending());
            tokio::time::sleep(SECOND).await;
        }
        drop(theirs);
        tokio::time::sleep(SECOND).await;
        assert_eq!(held(&consul), ["orders/7"], "{is_held} {polls}");
        tokio::time::sleep(limits).await;
        assert_eq!(held(&consul), Vec::<String>::new(), "{is_held} {polls}");
        // A handler that has not begun does not begin.
        let late = asked.await.map_err(|error| error.to_string()).map(drop);
        assert_eq!(late, Err("the request held its lock for 30s and was stopped".to_owned()));
        assert_eq!(*begun.borrow(), begins, "{is_held} {polls}");
    }
    // Its turn comes after the limit of its wait.
    let theirs = other.send(TryAcquire::new(key("orders/7"))).await.unwrap();
    let mut asked = Box::pin(app.call(TestRequest::get().uri("/orders/7").to_request()));
    assert!(futures::poll!(&mut asked).is_pending());
    tokio::time::sleep(LockPath::DEFAULT_WITHIN + SECOND).await;
    drop(theirs);
    tokio::time::sleep(SECOND).await;
    assert_eq!(held(&consul), Vec::<String>::new());
    assert_eq!(asked.await.unwrap().status(), 504);
}

#[actix::test]
async fn a_response_to_head_holds_no_lock_and_has_the_headers_of_get() {
    tokio::time::pause();
    let consul = Embedded::new();
    let stream = || async {
        let chunks = futures::stream::pending::<Chunk>();
        HttpResponse::Ok().body(body::SizedStream::new(7, chunks))
    };
    let app = App::new()
        .app_data(runtime("shop", &consul))
        .route("/orders/{id}", web::route().to(stream).wrap(order()));
    let app = init_service(app).await;
    let asked = TestRequest::default().method(Method::HEAD).uri("/orders/7").to_request();
    let response = app.call(asked).await.unwrap();
    assert_eq!(response.response().body().size(), BodySize::Sized(7));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(held(&consul), Vec::<String>::new());
}

#[actix::test]
async fn work_under_a_lock_ends_when_it_outlives_its_request() {
    in_a_task(async {
        let consul = Embedded::new();
        let outlives = Rc::new(RefCell::new(None));
        let begun = outlives.clone();
        let handler = move |lease: HeldLease| {
            let work = async move {
                let lost = lease.run(pending::<()>()).await.unwrap_err();
                (lost.reason, lease.lost().await)
            };
            begun.replace(Some(actix_rt::spawn(work)));
            async { "done" }
        };
        let app = App::new()
            .app_data(runtime("shop", &consul))
            .route("/orders/{id}", web::get().to(handler).wrap(order()));
        let app = init_service(app).await;
        assert_eq!(get(&app, "/orders/7").await.status, 200);
        let work = outlives.take().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), work).await;
        let reasons = ended.expect("the work ends").unwrap();
        assert_eq!(reasons, (LossReason::Released, LossReason::Released));
    })
    .await;
}

#[actix::test]
async fn a_handler_does_not_start_under_an_expired_lock() {
    in_a_task(async {
        let mut begun = 0;
        for count in 0..60 {
            let consul = Embedded::new();
            let ran = Rc::new(RefCell::new(0));
            let counted = ran.clone();
            let work = move |lease: HeldLease| {
                assert!(lease.is_valid(), "begun under a lock that is over");
                *counted.borrow_mut() += 1;
                pending::<HttpResponse>()
            };
            let app = App::new()
                .app_data(runtime("shop", &consul))
                .route("/orders/{id}", web::get().to(work).wrap(order()));
            let app = init_service(app).await;
            let asked = actix_rt::spawn(async move { get(&app, "/orders/7").await.status });
            steps(count).await;
            consul.cut();
            tokio::time::advance(Duration::from_secs(60)).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(matches!(asked.await.unwrap(), 503 | 504), "{count}");
            begun += *ran.borrow();
        }
        assert!((1..60).contains(&begun), "always or never begun: {begun}");
    })
    .await;
}

/// A server for `/orders/{id}` on a socket, and the signal that a handler has started.
macro_rules! served {
    ($consul:expr, $lock:expr, |$begun:ident| $handler:expr) => {{
        // Sockets need the real clock.
        let dsync = Dsync::builder("shop").embedded(&$consul).start().unwrap();
        let (handle, lock) = (dsync.clone(), $lock);
        let begun = Arc::new(tokio::sync::Notify::new());
        let told = begun.clone();
        let server = HttpServer::new(move || {
            let $begun = told.clone();
            let route = web::route().to($handler).wrap(lock.clone());
            App::new().app_data(handle.clone()).route("/orders/{id}", route)
        });
        let server = server.workers(1).h1_allow_half_closed(false).disable_signals();
        let server = server.bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let stop = server.handle();
        (dsync, begun, address, stop, actix_rt::spawn(server))
    }};
}

async fn free(consul: &Embedded) {
    let until = Instant::now() + Duration::from_secs(30);
    while !held(consul).is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(held(consul), Vec::<String>::new());
}

#[actix::test]
async fn a_client_that_disconnects_releases_the_lock() {
    let consul = Embedded::new();
    let (dsync, begun, address, stop, serving) = served!(consul, order(), |begun| move || {
        begun.notify_one();
        pending::<HttpResponse>()
    });
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /orders/7 HTTP/1.1\r\nhost: shop\r\n\r\n").unwrap();
    tokio::time::timeout(Duration::from_secs(30), begun.notified()).await.unwrap();
    assert_eq!(held(&consul), ["orders/7"]);
    drop(client);
    free(&consul).await;
    stop.stop(false).await;
    serving.await.unwrap().unwrap();
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[actix::test]
async fn a_client_that_sends_or_reads_nothing_holds_the_lock_for_a_bounded_time() {
    let consul = Embedded::new();
    let limit = Duration::from_millis(500);
    let lock = order().at_most(limit);
    let (dsync, _, address, stop, serving) =
        served!(consul, lock, |_begun| |body: Bytes, request: HttpRequest| async move {
            drop(body);
            if request.method() == Method::POST {
                return HttpResponse::Ok().body("done");
            }
            let chunk = Bytes::from(vec![b'x'; 65_536]);
            let endless =
                futures::stream::repeat_with(move || Ok::<_, actix_web::Error>(chunk.clone()));
            HttpResponse::Ok().streaming(endless)
        });
    for request in [
        "POST /orders/7 HTTP/1.1\r\nhost: shop\r\ncontent-length: 10\r\n\r\n",
        "GET /orders/7 HTTP/1.1\r\nhost: shop\r\n\r\n",
        "HEAD /orders/7 HTTP/1.1\r\nhost: shop\r\n\r\n",
    ] {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while dsync.send(List).await.unwrap().keys.is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        free(&consul).await;
        drop(client);
    }
    stop.stop(false).await;
    serving.await.unwrap().unwrap();
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
}
