//! Locks over `https://` with the caller's trusted roots.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use actix_dsync::{Acquire, Dsync, Error, Key, Release, Released, TryAcquire};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

use crate::support::consul::{Agent, free_port};

/// An agent that also serves TLS, and the certificate to trust.
pub(crate) fn agent() -> (Agent, String, CertificateDer<'static>) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let port = free_port();
    let folder = std::env::temp_dir().join(format!("dsync-tls-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let agent = Agent::builder()
        .config(format!(
            r#"ports {{ https = {port} }} cert_file = "{}" key_file = "{}""#,
            cert.display(),
            key.display()
        ))
        .start();
    // The agent has read the files by now.
    std::fs::remove_dir_all(&folder).unwrap();
    (agent, format!("https://{}:{port}", Ipv4Addr::LOCALHOST), own.cert.der().clone())
}

pub(crate) fn trusting(
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

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
