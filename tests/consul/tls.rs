//! Locks over `https://` with the caller's trusted roots.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use actix_dsync::{Acquire, Dsync, Error, Key, Release, Released, TryAcquire};

pub(crate) use crate::support::tls::{agent, trusting};

#[tokio::test]
async fn locks_pass_between_processes_over_https() {
    let (agent, url, certificate) = agent();
    let start = |service: &str| {
        let tls = trusting([certificate.clone()]);
        Dsync::builder(service).address(&url).tls(tls).start().unwrap()
    };
    let (one, two) = (start("one"), start("two"));
    let key = Key::new("tls/key").unwrap();

    let first = one.send(Acquire::new(key.clone())).await.unwrap();
    let refused = two.send(TryAcquire::new(key.clone())).await.unwrap_err();
    assert!(matches!(refused, Error::Held { .. }), "{refused}");
    let waiting = two.send(Acquire::new(key.clone()).within(Duration::from_secs(30)));
    let token = first.token();
    assert_eq!(one.send(Release(first)).await.unwrap(), Released::Confirmed);
    let second = waiting.await.unwrap();
    assert!(second.token() > token);

    one.shutdown(Duration::from_secs(5)).await.unwrap();
    two.shutdown(Duration::from_secs(5)).await.unwrap();
    assert!(agent.operator().sessions().is_empty());
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_says_so() {
    let (_agent, url, _) = agent();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = trusting([stranger.cert.der().clone()]);
    let dsync = Dsync::builder("one").address(url).tls(tls).start().unwrap();
    let error = dsync.ready().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}
