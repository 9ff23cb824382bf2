use std::time::Duration;

use actix_dsync::{Acquire, Dsync, Key, embedded::Embedded};
use actix_web::{
    App, Result, post,
    test::{TestRequest, call_service, init_service, read_body_json},
    web::Path,
};

#[post("/orders/{id}/charge")]
async fn charge(id: Path<String>, dsync: Dsync) -> Result<&'static str> {
    let key = Key::join(["orders", id.as_str()])?;
    let lease = dsync.send(Acquire::new(key).within(Duration::from_secs(2))).await?;
    // The payment provider takes its time.
    lease.run(tokio::time::sleep(Duration::from_secs(60))).await?;
    Ok("charged")
}

#[actix::test]
async fn a_charge_is_answered_503_when_the_network_becomes_silent() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = Dsync::builder("shop").embedded(&consul).on_current_arbiter().start().unwrap();
    let app = init_service(App::new().app_data(dsync.clone()).service(charge)).await;

    let request = TestRequest::post().uri("/orders/7/charge").to_request();
    let silence = async {
        tokio::time::sleep(Duration::from_secs(5)).await; // the charge has begun
        consul.cut();
    };
    let (response, ()) = tokio::join!(call_service(&app, request), silence);
    assert_eq!(response.status(), 503);
    let body: serde_json::Value = read_body_json(response).await;
    assert_eq!(body["error"], "lost");
}
