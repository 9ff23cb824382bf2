//! Over TLS: HTTP/2 is spoken, and streams share few connections.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use rcgen::CertifiedKey;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::*;

const CORE: usize = RENEWALS_KEPT + CALLS_KEPT;
const LIMIT: Duration = Duration::from_secs(5);

struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    trust: Arc<ClientConfig>,
    handle: actix_web::dev::ServerHandle,
}

/// Answers with the version spoken; `/slow` after a while.
async fn server(host: &str) -> Server {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost", "127.0.0.1", "::1"].map(String::from))
            .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let trust = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let listener = TcpListener::bind((host, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let spoken = |request: HttpRequest| async move {
        HttpResponse::Ok()
            .insert_header(("X-Consul-Index", "7"))
            .body(format!("{:?}", request.version()))
    };
    let slow = move |request: HttpRequest| async move {
        actix_rt::time::sleep(Duration::from_millis(300)).await;
        spoken(request).await
    };
    let server = HttpServer::new(move || {
        App::new().route("/slow", web::get().to(slow)).default_service(web::to(spoken))
    })
    .on_connect(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
    })
    .workers(1)
    .disable_signals()
    .listen_rustls_0_23(listener, tls)
    .unwrap()
    .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Server { address, connections, trust: trust.into(), handle }
}

impl Server {
    fn config(&self, watches: usize) -> HttpConfig {
        let address =
            Address::parse(&format!("https://localhost:{}", self.address.port())).unwrap();
        let tls = Some(Arc::clone(&self.trust));
        HttpConfig { address, token: None, renewals: 2, calls: 2, watches, tls }
    }

    fn http(&self, watches: usize) -> Http {
        Http::new(&self.config(watches)).unwrap()
    }
}

async fn get(http: &Http, purpose: Purpose, target: &str) -> Result<String, Trouble> {
    let request = WireRequest { method: Method::Get, target: target.into(), body: vec![] };
    let reply = http.exchange(purpose, request, LIMIT).await?;
    assert_eq!((reply.status, reply.index), (200, Some(7)));
    Ok(String::from_utf8(reply.body).unwrap())
}

#[actix::test]
async fn many_blocking_reads_share_an_http_2_connection() {
    let server = server("127.0.0.1").await;
    let http = server.http(3);
    let reads = (0..400).map(|_| get(&http, Purpose::Watch, "/slow"));
    for spoken in futures::future::join_all(reads).await {
        assert_eq!(spoken.unwrap(), "HTTP/2.0");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), CORE + 2);
    // And again on the same two.
    let reads = (0..400).map(|_| get(&http, Purpose::Watch, "/slow"));
    assert!(futures::future::join_all(reads).await.iter().all(Result::is_ok));
    assert_eq!(server.connections.load(Ordering::SeqCst), CORE + 2);
    server.handle.stop(false).await;
}

#[actix::test]
async fn http_1_1_is_spoken_where_the_configuration_names_it() {
    let mut server = server("127.0.0.1").await;
    Arc::make_mut(&mut server.trust).alpn_protocols = vec![b"http/1.1".to_vec()];
    let http = server.http(2);
    assert_eq!(get(&http, Purpose::Watch, "/").await.unwrap(), "HTTP/1.1");
    assert_eq!(http.reads_per_connection(), Some(1));
    server.handle.stop(false).await;
}

#[actix::test]
async fn an_ipv6_address_is_spoken_to() {
    let server = server("::1").await;
    let text = format!("https://[::1]:{}", server.address.port());
    let address = Address::parse(&text).unwrap();
    let http = Http::new(&HttpConfig { address, ..server.config(1) }).unwrap();
    assert_eq!(get(&http, Purpose::Call, "/").await.unwrap(), "HTTP/2.0");
    server.handle.stop(false).await;
}

#[actix::test]
async fn each_renewal_at_a_time_has_its_own_connection() {
    let server = server("127.0.0.1").await;
    let http = server.http(1);
    for _ in 0..3 {
        let renewals = (0..2).map(|_| get(&http, Purpose::Renewal, "/slow"));
        assert!(futures::future::join_all(renewals).await.iter().all(Result::is_ok));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), CORE);
    server.handle.stop(false).await;
}

#[actix::test]
async fn a_connection_with_a_silent_stream_is_not_asked_again() {
    let server = server("127.0.0.1").await;
    let http = server.http(1);
    let request = WireRequest { method: Method::Get, target: "/slow".into(), body: vec![] };
    let limit = Duration::from_millis(100);
    assert_eq!(get(&http, Purpose::Call, "/").await.unwrap(), "HTTP/2.0");
    http.renewals.core().await.unwrap();
    assert_eq!(http.exchange(Purpose::Call, request, limit).await, Err(Trouble::Timeout(limit)));
    assert_eq!(get(&http, Purpose::Call, "/").await.unwrap(), "HTTP/2.0");
    http.renewals.core().await.unwrap();
    // All of its age are replaced with it.
    assert_eq!(server.connections.load(Ordering::SeqCst), 2 * CORE);
    server.handle.stop(false).await;
}

#[actix::test]
async fn a_certificate_that_nobody_vouches_for_makes_no_connection() {
    let (one, other) = (server("127.0.0.1").await, server("127.0.0.1").await);
    let stranger = Server { trust: Arc::clone(&other.trust), ..one };
    let result = get(&stranger.http(1), Purpose::Call, "/").await;
    assert!(matches!(result, Err(Trouble::Connect(_))), "{result:?}");
}
