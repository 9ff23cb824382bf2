//! The health routes and the status page.

use std::{collections::HashSet, time::Duration};

use actix_dsync::{
    Acquire, Dsync, Key, TryAcquire,
    embedded::Embedded,
    web::{health_routes, status_routes},
};
use actix_web::{
    App,
    http::Method,
    test::{TestRequest, init_service},
    web,
};

use super::{ask, get};
use crate::{acquire, runtime};

macro_rules! app {
    ($dsync:expr) => {
        init_service(
            App::new()
                .service(web::scope("/internal/dsync").configure(status_routes(&$dsync)))
                .configure(health_routes(&$dsync)),
        )
        .await
    };
}

fn as_a_browser() -> TestRequest {
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    TestRequest::get().uri("/internal/dsync/status").insert_header(("accept", accept))
}

#[actix::test]
async fn health_routes_answer_live_and_ready_and_nothing_else() {
    tokio::time::pause();
    let dsync = runtime("shop", &Embedded::new());
    let app = app!(dsync);
    let before = get(&app, "/health/ready").await;
    assert_eq!((before.status, before.body.as_str()), (503, r#"{"ready":false}"#));
    dsync.ready().await.unwrap();
    for path in ["/health/ready", "/internal/dsync/health/ready"] {
        let seen = get(&app, path).await;
        assert_eq!((seen.status, seen.body.as_str()), (200, r#"{"ready":true}"#), "{path}");
        assert_eq!(seen.header("cache-control"), Some("no-store"));
    }
    let live = get(&app, "/health/live").await;
    assert_eq!((live.status, live.body.as_str()), (200, r#"{"live":true}"#));
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(get(&app, "/health/live").await.status, 200);
    assert_eq!(get(&app, "/health/ready").await.status, 503);
}

#[actix::test]
async fn only_get_and_head_are_allowed() {
    tokio::time::pause();
    let dsync = runtime("shop", &Embedded::new());
    let app = app!(dsync);
    for (path, status) in
        [("/health/live", 200), ("/health/ready", 503), ("/internal/dsync/status", 200)]
    {
        let seen = ask(&app, TestRequest::default().method(Method::HEAD).uri(path)).await;
        assert_eq!(seen.status, status, "{path}");
        for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
            let asked = TestRequest::default().method(method.clone()).uri(path);
            assert_eq!(ask(&app, asked).await.status, 405, "{method} {path}");
        }
    }
}

#[actix::test]
async fn the_status_is_html_for_people_and_json_for_programs() {
    tokio::time::pause();
    let dsync = runtime("shop", &Embedded::new());
    let lease = acquire(&dsync, "orders/7").await;
    let app = app!(dsync);
    for path in ["/internal/dsync/status", "/internal/dsync/status.json"] {
        let seen = get(&app, path).await;
        assert_eq!((seen.status, seen.header("content-type")), (200, Some("application/json")));
        let json = seen.json();
        assert_eq!((&json["service"], &json["more_keys"]), (&"shop".into(), &0.into()));
        let known = &json["keys"][0];
        assert_eq!((&known["key"], &known["state"]), (&"orders/7".into(), &"held".into()));
        assert_eq!(known["token"], lease.token().as_u64());
    }
    let page = ask(&app, as_a_browser()).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        (page.header("vary"), page.header("cache-control")),
        (Some("Accept"), Some("no-store"))
    );
    assert!(page.body.contains("orders/7: held"), "without scripts");
    assert!(page.body.contains(r#"http-equiv="refresh""#));
    // The page finds its data below any scope and loads nothing from other hosts.
    assert!(page.body.contains(r#"const json = location.pathname.replace(/\/+$/, "") + ".json";"#));
    assert!(page.body.contains("fetch(json,"));
    assert!(!page.body.contains("://"), "the page loads something from another host");
}

#[actix::test]
async fn only_the_page_s_own_script_may_run_and_each_page_has_another_nonce() {
    tokio::time::pause();
    let dsync = runtime("shop", &Embedded::new());
    let app = app!(dsync);
    let mut nonces = HashSet::new();
    for _ in 0..50 {
        let page = ask(&app, as_a_browser()).await;
        let policy = page.header("content-security-policy").unwrap().to_owned();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert!(nonce.len() == 32 && nonce.bytes().all(|c| c.is_ascii_hexdigit()), "{nonce}");
        assert_eq!(page.body.matches(&format!(r#"<script nonce="{nonce}">"#)).count(), 1);
        assert_eq!(page.body.matches("<script").count(), 1);
        assert!(page.body.contains(&format!(r#"<style nonce="{nonce}">"#)));
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(nonces.insert(nonce.to_owned()));
    }
}

#[actix::test]
async fn keys_and_values_are_never_markup() {
    tokio::time::pause();
    let consul = Embedded::new();
    let hostile = r#"</script></pre><img src=x onerror="alert(1)">{{text}}{{nonce}}'&"#;
    let other = runtime("other", &consul);
    let asked = TryAcquire::new(Key::join([hostile]).unwrap()).value(hostile);
    let theirs = other.send(asked).await.unwrap();
    let service = Dsync::builder(hostile).embedded(&consul).on_current_arbiter().start().unwrap();
    let _waiting = service.send(Acquire::new(theirs.key().clone()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let page = ask(&app!(service), as_a_browser()).await.body;
    assert!(!page.contains("<img"), "{page}");
    assert_eq!(page.matches("</script>").count(), 1);
    assert!(
        page.contains("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;{{text}}{{nonce}}&#39;&amp;")
    );
    let json = get(&app!(service), "/internal/dsync/status.json").await.json();
    assert_eq!(json["keys"][0]["holder"]["value"], hostile);
}

#[actix::test]
async fn a_long_report_is_cut_where_it_matters_least() {
    tokio::time::pause();
    let consul = Embedded::new();
    let (dsync, other) = (runtime("shop", &consul), runtime("other", &consul));
    let long = "v".repeat(5_000);
    let asked = TryAcquire::new(crate::key("a")).value(long.as_str());
    let _theirs = other.send(asked).await.unwrap();
    let _waiting = dsync.send(Acquire::new(crate::key("a")));
    let mut held = Vec::new();
    for number in 0..205 {
        held.push(acquire(&dsync, &format!("k/{number:03}")).await);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let app = app!(dsync);
    let json = get(&app, "/internal/dsync/status.json").await.json();
    assert_eq!((json["keys"].as_array().unwrap().len(), &json["more_keys"]), (200, &6.into()));
    assert_eq!(json["keys"][0]["key"], "k/000", "what is held comes first");
    assert!(ask(&app, as_a_browser()).await.body.contains("and 6 more keys"));
    drop(held.split_off(5));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let json = get(&app, "/internal/dsync/status.json").await.json();
    assert_eq!(json["keys"][5]["key"], "a");
    assert_eq!(json["keys"][5]["holder"]["value"].as_str().unwrap().chars().count(), 1_025);
}
