//! Requests that only the leader may handle.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    rc::Rc,
    time::Duration,
};

use actix_dsync::{
    Campaign, Dsync, LossReason, Lost, Resign, Tenure,
    embedded::Embedded,
    web::{Leader, LeaderConfig, LeaderOnly},
};
use actix_web::{
    App, HttpResponse,
    body::MessageBody as _,
    dev::Service as _,
    test::{TestRequest, init_service},
    web::{self, Bytes, Data, ServiceConfig},
};
use futures::channel::mpsc;

use super::{ask, get};
use crate::{key, logs::Log};

/// A process at `http://{name}:80`.
async fn campaigning(name: &str, consul: &Embedded) -> (Dsync, Tenure) {
    let builder = Dsync::builder("shop").embedded(consul).on_current_arbiter();
    let dsync = builder.advertise(name, 80).start().unwrap();
    let tenure = dsync.send(Campaign::default()).await.unwrap();
    (dsync, tenure)
}

/// Two processes. The first leads, and both know it.
async fn pair(consul: &Embedded) -> [(Dsync, Tenure); 2] {
    let one = campaigning("one", consul).await;
    one.1.elected().await;
    let two = campaigning("two", consul).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(one.1.is_leader() && !two.1.is_leader());
    [one, two]
}

/// Redirects to the processes of the test.
fn redirect() -> LeaderConfig {
    LeaderConfig::redirect().only(|host, _| ["one", "two"].contains(&host))
}

async fn token(leader: Leader) -> String {
    assert!(leader.is_valid());
    leader.token().to_string()
}

fn routes(app: &mut ServiceConfig) {
    app.route("/token", web::get().to(token)).route("/token", web::post().to(token)).service(
        web::scope("/admin").wrap(LeaderOnly::new()).route("/token", web::get().to(token)),
    );
}

macro_rules! app {
    ($tenure:expr) => {
        init_service(App::new().app_data($tenure.clone()).configure(routes)).await
    };
    ($tenure:expr, $config:expr) => {
        init_service(
            App::new().app_data(Data::new($tenure.clone())).app_data($config).configure(routes),
        )
        .await
    };
}

#[actix::test]
async fn only_the_leader_runs_the_handler_and_others_answer_503() {
    tokio::time::pause();
    let consul = Embedded::new();
    let [(_one, leads), (_two, follows)] = pair(&consul).await;
    let (leader, follower) = (app!(leads), app!(follows));
    let token = leads.token().unwrap().to_string();
    for path in ["/token", "/admin/token"] {
        assert_eq!(get(&leader, path).await.body, token, "{path}");
        let refused = get(&follower, path).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{path}");
        assert_eq!(refused.json()["error"], "not_leader");
    }
    let patient = LeaderConfig::refuse().retry_after(Duration::from_millis(4_500));
    let refused = get(&app!(follows, Data::new(patient)), "/token").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
}

#[actix::test]
async fn a_handler_takes_the_tenure_and_answers_on_the_leader_and_on_followers() {
    async fn leads(tenure: Tenure) -> String {
        tenure.is_leader().to_string()
    }
    tokio::time::pause();
    let consul = Embedded::new();
    let [(_one, leader), (_two, follower)] = pair(&consul).await;
    for (tenure, expected) in [(leader, "true"), (follower, "false")] {
        let app = App::new().app_data(tenure).route("/leads", web::get().to(leads));
        assert_eq!(get(&init_service(app).await, "/leads").await.body, expected);
    }
    let without = init_service(App::new().route("/leads", web::get().to(leads))).await;
    assert_eq!(get(&without, "/leads").await.status, 500);
}

#[actix::test]
async fn a_follower_sends_clients_to_the_leader_with_method_and_query() {
    tokio::time::pause();
    let consul = Embedded::new();
    let [(_one, leads), (_two, follows)] = pair(&consul).await;
    let follower = app!(follows, redirect());
    for (asked, to) in [
        ("/token", "http://one:80/token?dsync-hops=1"),
        ("/admin/token?a=1", "http://one:80/admin/token?a=1&dsync-hops=1"),
    ] {
        for request in [TestRequest::get(), TestRequest::post()] {
            let sent = ask(&follower, request.uri(asked)).await;
            assert_eq!((sent.status, sent.header("location")), (307, Some(to)), "{asked}");
            assert_eq!(sent.header("cache-control"), Some("no-store"));
        }
    }
    // The leader serves the redirected request.
    let leader = app!(leads, redirect());
    assert_eq!(get(&leader, "/token?dsync-hops=1").await.status, 200);
    // A host that is not allowed gets no redirection.
    let inside = LeaderConfig::redirect().only(|host, _| host.ends_with(".internal"));
    assert_eq!(get(&app!(follows, inside), "/token").await.status, 503);
}

#[actix::test]
async fn two_followers_that_name_each_other_as_the_leader_do_not_redirect_in_a_loop() {
    tokio::time::pause();
    let consul = Embedded::new();
    let [(_one, leads), (_two, follows)] = pair(&consul).await;
    // Each names the other as the leader.
    let other = app!(follows, redirect());
    let mut path = "/token?a=1".to_owned();
    let mut sent = 0;
    loop {
        let answer = get(&other, &path).await;
        if answer.status != 307 {
            assert_eq!(answer.status, 503);
            break;
        }
        sent += 1;
        assert!(sent < 10, "in circles: {path}");
        path = answer.header("location").unwrap().strip_prefix("http://one:80").unwrap().to_owned();
    }
    assert_eq!(sent, LeaderConfig::DEFAULT_HOPS);
    assert!(leads.is_leader());
}

#[actix::test]
async fn a_deposed_leader_sends_clients_to_the_next_one() {
    tokio::time::pause();
    let consul = Embedded::new();
    let [(_one, leads), (_two, follows)] = pair(&consul).await;
    let app = app!(leads, redirect());
    assert_eq!(get(&app, "/token").await.status, 200);
    let session = leads.leader().unwrap().session;
    assert!(consul.destroy_session(&session));
    follows.elected().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sent = get(&app, "/token").await;
    assert_eq!(sent.header("location"), Some("http://two:80/token?dsync-hops=1"));
}

#[actix::test]
async fn a_value_redirects_clients_only_to_hosts_that_the_operator_named() {
    tokio::time::pause();
    let consul = Embedded::new();
    let [(_one, _leads), (_two, follows)] = pair(&consul).await;
    // The leader's own value is not enough.
    let default = app!(follows, LeaderConfig::redirect());
    assert_eq!(get(&default, "/token").await.status, 503);
    let entry = consul.entries().into_iter().find(|entry| entry.session.is_some()).unwrap();
    for (host, status) in [("evil.example", 503), ("two", 503), ("one", 307)] {
        let value = serde_json::json!({ "address": host, "port": 80 }).to_string();
        consul.write_key(&entry.key, value.as_bytes());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(get(&app!(follows, redirect()), "/token").await.status, status, "{host}");
    }
    // The node of the leader's session is allowed.
    let node = follows.leader().unwrap().node.unwrap();
    let value = serde_json::json!({ "address": node, "port": 80 }).to_string();
    consul.write_key(&entry.key, value.as_bytes());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sent = get(&default, "/token").await;
    assert_eq!(sent.header("location"), Some(&*format!("http://{node}:80/token?dsync-hops=1")));
}

#[actix::test]
async fn a_redirection_keeps_the_scheme_that_a_trusted_proxy_names() {
    tokio::time::pause();
    let consul = Embedded::new();
    let [(_one, _leads), (_two, follows)] = pair(&consul).await;
    for (config, scheme) in
        [(redirect(), "http"), (redirect().trust_proxy(), "https"), (redirect().https(), "https")]
    {
        let app = app!(follows, config);
        let asked = TestRequest::get().uri("/token").insert_header(("x-forwarded-proto", "https"));
        let to = format!("{scheme}://one:80/token?dsync-hops=1");
        assert_eq!(ask(&app, asked).await.header("location"), Some(&*to));
    }
    // Any other scheme that a client names is ignored.
    let app = app!(follows, redirect().trust_proxy());
    let asked = TestRequest::get().uri("/token").insert_header(("x-forwarded-proto", "javascript"));
    let sent = ask(&app, asked).await;
    assert_eq!(sent.header("location"), Some("http://one:80/token?dsync-hops=1"));
}

#[actix::test]
async fn the_log_says_once_why_a_leader_cannot_be_redirected_to() {
    tokio::time::pause();
    let log = Log::default();
    let _guard = log.of(tracing::Level::WARN);
    let consul = Embedded::new();
    let [(_one, _leads), (_two, follows)] = pair(&consul).await;
    let entry = consul.entries().into_iter().find(|entry| entry.session.is_some()).unwrap();
    log.take();
    let app = app!(follows, redirect());
    for (value, why) in [
        (r#"{"service":"x"}"#, "names no address and port"),
        (r#"{"address":"a\u001b[31m\nb","port":80}"#, "not a reachable host name or IP address"),
        (r#"{"address":"evil.example","port":80}"#, "evil.example:80 is not allowed"),
    ] {
        consul.write_key(&entry.key, value.as_bytes());
        tokio::time::sleep(Duration::from_secs(5)).await;
        for _ in 0..10 {
            assert_eq!(get(&app, "/token").await.status, 503);
        }
        let logged = log.take();
        assert_eq!(logged.lines().count(), 1, "{logged}");
        assert!(logged.contains(why) && !logged.contains('\u{1b}'), "{logged}");
    }
    // Nor again when it has been so before, as with two keys that different processes lead.
    consul.write_key(&entry.key, br#"{"service":"x"}"#);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(get(&app, "/token").await.status, 503);
    assert_eq!(log.take(), "");
}

/// Reports that it was dropped.
struct Dropped(Rc<RefCell<bool>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.replace(true);
    }
}

#[actix::test]
async fn work_is_stopped_when_the_process_no_longer_leads() {
    tokio::time::pause();
    for path in ["/run", "/only"] {
        let consul = Embedded::new();
        let (dsync, tenure) = campaigning("one", &consul).await;
        tenure.elected().await;
        let stopped = Rc::new(RefCell::new(false));
        let (in_run, in_scope) = (stopped.clone(), stopped.clone());
        let run = move |leader: Leader| {
            let work = Dropped(in_run.clone());
            async move {
                leader
                    .run(async move {
                        pending::<()>().await;
                        drop(work);
                    })
                    .await?;
                Ok::<_, Lost>("never")
            }
        };
        let only = move || {
            let work = Dropped(in_scope.clone());
            async move {
                pending::<()>().await;
                drop(work);
                "never"
            }
        };
        let app = App::new()
            .app_data(tenure.clone())
            .route("/run", web::get().to(run))
            .service(web::resource("/only").wrap(LeaderOnly::of(&tenure)).to(only));
        let app = Rc::new(init_service(app).await);
        let asked = actix_rt::spawn({
            let app = app.clone();
            async move { get(&*app, path).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!*stopped.borrow(), "{path}");
        dsync.send(Resign::of(&tenure)).await.unwrap();
        let answer = asked.await.unwrap();
        assert!(*stopped.borrow(), "{path}");
        assert_eq!((answer.status, &answer.json()["error"]), (503, &"lost".into()), "{path}");
    }
}

#[actix::test]
async fn a_body_that_is_being_produced_is_aborted_when_the_process_no_longer_leads() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, tenure) = campaigning("one", &consul).await;
    tenure.elected().await;
    let (more, chunks) = mpsc::unbounded::<Result<Bytes, actix_web::Error>>();
    let chunks = Rc::new(RefCell::new(Some(chunks)));
    let stream = move || {
        let body = chunks.borrow_mut().take().unwrap();
        async move { HttpResponse::Ok().streaming(body) }
    };
    let route = web::resource("/only").wrap(LeaderOnly::of(&tenure)).to(stream);
    let app = init_service(App::new().service(route)).await;
    let response = app.call(TestRequest::get().uri("/only").to_request()).await.unwrap();
    let mut body = Box::pin(response.into_body());
    more.unbounded_send(Ok(Bytes::from("a part"))).unwrap();
    let part = poll_fn(|context| body.as_mut().poll_next(context)).await.unwrap().unwrap();
    assert_eq!(part, "a part");
    dsync.send(Resign::of(&tenure)).await.unwrap();
    more.unbounded_send(Ok(Bytes::from("a later part"))).unwrap();
    let lost = poll_fn(|context| body.as_mut().poll_next(context)).await.unwrap().unwrap_err();
    assert!(lost.downcast_ref::<Lost>().is_some_and(|lost| lost.reason == LossReason::Resigned));
    assert!(more.is_closed(), "what produced it is gone");
    assert!(poll_fn(|context| body.as_mut().poll_next(context)).await.is_none());
}

#[actix::test]
async fn one_service_can_lead_by_one_key_and_follow_by_another() {
    tokio::time::pause();
    let consul = Embedded::new();
    let [(one, _), (two, _)] = pair(&consul).await;
    let other = two.send(Campaign::on(key("other"))).await.unwrap();
    other.elected().await;
    let [first, second] =
        [one.send(Campaign::default()).await, one.send(Campaign::on(key("other"))).await]
            .map(Result::unwrap);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let app = App::new()
        .app_data(first.clone())
        .service(web::resource("/second").wrap(LeaderOnly::of(&second)).to(token))
        .service(web::resource("/first").wrap(LeaderOnly::of(&first)).to(token))
        .service(web::resource("/default").to(token));
    let app = init_service(app).await;
    let led = first.token().unwrap().to_string();
    assert_eq!(get(&app, "/first").await.body, led);
    assert_eq!(get(&app, "/default").await.body, led);
    assert_eq!(get(&app, "/second").await.status, 503);
    // Within the middleware's scope, the extractor uses the middleware's tenure.
    let app = App::new()
        .app_data(second)
        .service(web::resource("/first").wrap(LeaderOnly::of(&first)).to(token));
    assert_eq!(get(&init_service(app).await, "/first").await.body, led);
}

#[actix::test]
async fn without_a_campaign_the_answer_says_what_is_missing() {
    tokio::time::pause();
    let app = init_service(App::new().configure(routes)).await;
    for path in ["/token", "/admin/token"] {
        let seen = get(&app, path).await;
        assert_eq!(seen.status, 500, "{path}");
        assert!(seen.body.contains("Tenure"), "{}", seen.body);
    }
}
