//! TLS: connections use HTTP/2, and many streams share few connections.

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

use crate::{config::TlsSettings, consul::http::*};

const CORE: usize = RENEWALS_KEPT + CALLS_KEPT;
const LIMIT: Duration = Duration::from_secs(5);

struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    trust: Arc<ClientConfig>,
    handle: actix_web::dev::ServerHandle,
}

/// The configuration of a client that trusts a certificate, and of the server that has it.
fn certified() -> (ClientConfig, ServerConfig) {
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
    (trust, tls)
}

/// Answers with the HTTP version; delays the answer to `/slow`.
async fn server(host: &str) -> Server {
    let (trust, tls) = certified();
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

fn config(address: Address, watches: usize, ready_tls: Option<Arc<ClientConfig>>) -> HttpConfig {
    HttpConfig {
        address,
        basic: None,
        query: String::new(),
        renewals: 2,
        calls: 2,
        watches,
        tls: TlsSettings::default(),
        ready_tls,
    }
}

impl Server {
    fn config(&self, watches: usize) -> HttpConfig {
        let address =
            Address::parse(&format!("https://localhost:{}", self.address.port())).unwrap();
        let tls = Some(Arc::clone(&self.trust));
        config(address, watches, tls)
    }

    fn http(&self, watches: usize) -> Http {
        Http::new(&self.config(watches)).unwrap()
    }
}

async fn get(http: &Http, purpose: Purpose, target: &str) -> Result<String, Trouble> {
    let request =
        WireRequest { method: Method::Get, target: target.into(), body: vec![], blocks: false };
    let reply = http.exchange(purpose, &request, None, LIMIT).await?;
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

/// An HTTP/2 server's reaction to a request.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Answer,
    Refuse,
    Silence,
}

/// A server of HTTP/2 alone, which does the deeds in turn and then answers. It
/// allows `streams` requests at a time; returns what to reach it by, and how many
/// requests were under way at most.
async fn http_2_server(deeds: Vec<Deed>, streams: u32) -> (HttpConfig, Arc<AtomicUsize>) {
    let (trust, mut tls) = certified();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let deeds = Arc::new(std::sync::Mutex::new(deeds.into_iter()));
    let highest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&highest);
    actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, deeds, seen) = (acceptor.clone(), Arc::clone(&deeds), Arc::clone(&seen));
            actix_rt::spawn(async move {
                let stream = acceptor.accept(stream).await.ok()?;
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(streams);
                let mut connection = builder.handshake::<_, &'static [u8]>(stream).await.ok()?;
                let under_way = Arc::new(AtomicUsize::new(0));
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let is_probe = request.uri().path() == line::PROBE;
                    let deed = if is_probe { None } else { deeds.lock().unwrap().next() };
                    match deed.unwrap_or(Deed::Answer) {
                        Deed::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                        Deed::Silence => drop(actix_rt::spawn(async move {
                            let _open = respond;
                            std::future::pending::<()>().await;
                        })),
                        Deed::Answer => {
                            let (seen, under_way) = (Arc::clone(&seen), Arc::clone(&under_way));
                            actix_rt::spawn(async move {
                                let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                                seen.fetch_max(now, Ordering::SeqCst);
                                actix_rt::time::sleep(Duration::from_millis(20)).await;
                                under_way.fetch_sub(1, Ordering::SeqCst);
                                let head = hyper::Response::builder().header("X-Consul-Index", "7");
                                let sent = respond.send_response(head.body(()).unwrap(), false);
                                let _ = sent.and_then(|mut body| body.send_data(b"HTTP/2.0", true));
                            });
                        }
                    }
                }
                Some(())
            });
        }
    });
    let address = Address::parse(&format!("https://localhost:{}", address.port())).unwrap();
    let tls = Some(Arc::new(trust));
    let config = config(address, 2, tls);
    (config, highest)
}

/// How a server leaves a connection once its second request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// It goes away and names the first request as the last one processed.
    Unprocessed,
    /// It answers, and closes the connection.
    Closed,
    /// It answers, and goes away.
    Answered,
    /// It goes away and never answers.
    Silent,
}

/// A server that leaves connections as often as told.
async fn server_that_leaves(how: Leave, times: usize) -> HttpConfig {
    let (trust, mut tls) = certified();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicUsize::new(times));
    actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, left) = (acceptor.clone(), Arc::clone(&left));
            actix_rt::spawn(async move { leave(acceptor.accept(stream).await?, how, &left).await });
        }
    });
    let address = Address::parse(&format!("https://localhost:{port}")).unwrap();
    let tls = Some(Arc::new(trust));
    config(address, 2, tls)
}

/// Speaks HTTP/2 frame by frame.
async fn leave(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    how: Leave,
    left: &AtomicUsize,
) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GO_AWAY: u8 = 7;
    let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        frame
    };
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut requests = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        match (head[3], head[4] & 1) {
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            (PING, 0) => stream.write_all(&frame(PING, 1, 0, &payload)).await?,
            (HEADERS, _) => {
                requests += 1;
                let is_left = |left: usize| left.checked_sub(1);
                let relaxed = Ordering::Relaxed;
                let leaves = requests == 2 && left.fetch_update(relaxed, relaxed, is_left).is_ok();
                if !leaves || matches!(how, Leave::Closed | Leave::Answered) {
                    // The status 200 and nothing else.
                    stream.write_all(&frame(HEADERS, 5, id, &[0x88])).await?;
                }
                if leaves && how == Leave::Closed {
                    stream.shutdown().await?;
                } else if leaves {
                    let last = if how == Leave::Unprocessed { 1 } else { id as u8 };
                    let gone = frame(GO_AWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0]);
                    stream.write_all(&gone).await?;
                }
            }
            _ => {}
        }
        stream.flush().await?;
    }
}

#[actix::test]
async fn a_write_that_http_2_says_was_not_processed_is_sent_over_another_connection() {
    let (refusing, _) = http_2_server(vec![Deed::Answer, Deed::Refuse, Deed::Refuse], 100).await;
    for config in [refusing, server_that_leaves(Leave::Unprocessed, 2).await] {
        let http = Http::new(&config).unwrap();
        for _ in 0..3 {
            let request = WireRequest {
                method: Method::Put,
                target: "/".into(),
                body: b"x".to_vec(),
                blocks: false,
            };
            let reply = http.exchange(Purpose::Call, &request, None, LIMIT).await;
            assert_eq!(reply.map(|reply| reply.status), Ok(200));
        }
    }
}

#[actix::test]
async fn a_connection_that_its_server_has_left_gets_no_further_request() {
    let read = WireRequest { method: Method::Put, target: "/".into(), body: vec![], blocks: true };
    for how in [Leave::Closed, Leave::Answered, Leave::Silent] {
        let http = Http::new(&server_that_leaves(how, 1).await).unwrap();
        let ask = || http.exchange(Purpose::Call, &read, None, LIMIT);
        if how == Leave::Silent {
            let others = async {
                // The server has left once it has read the other request.
                actix_rt::time::sleep(Duration::from_millis(300)).await;
                for _ in 0..2 {
                    let begun = std::time::Instant::now();
                    assert_eq!(ask().await.map(|reply| reply.status), Ok(200), "{how:?}");
                    assert!(begun.elapsed() < LIMIT / 2, "it waited on the connection");
                }
            };
            let (others, unanswered) = (pin!(others), pin!(ask()));
            assert!(matches!(select(unanswered, others).await, Either::Right(_)));
        } else {
            assert_eq!(ask().await.map(|reply| reply.status), Ok(200), "{how:?}");
            let noticed = async {
                while http.calls.standing() > 0 {
                    actix_rt::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(LIMIT, noticed).await.expect("it is no line any more");
            assert_eq!(ask().await.map(|reply| reply.status), Ok(200), "{how:?}");
        }
    }
}

#[actix::test]
async fn a_connection_that_is_given_up_while_others_wait_on_it_takes_no_place() {
    for purpose in [Purpose::Watch, Purpose::Call] {
        let (config, _) = http_2_server(vec![Deed::Silence; 2], 100).await;
        let http = Http::new(&config).unwrap();
        http.bound(1, 2);
        let request =
            WireRequest { method: Method::Get, target: "/".into(), body: vec![], blocks: true };
        let ask = |limit| http.exchange(purpose, &request, None, limit);
        let others = async {
            let limit = Duration::from_millis(300);
            assert_eq!(ask(limit).await, Err(Trouble::Timeout(limit)));
            for _ in 0..2 {
                assert_eq!(get(&http, purpose, "/").await.as_deref(), Ok("HTTP/2.0"));
            }
        };
        let (others, waiting) = (pin!(others), pin!(ask(LIMIT * 10)));
        assert!(matches!(select(waiting, others).await, Either::Right(_)), "{purpose:?}");
    }
}

#[actix::test]
async fn no_more_requests_are_on_a_connection_than_its_server_allows() {
    let (config, highest) = http_2_server(vec![], 8).await;
    let http = Http::new(&config).unwrap();
    let reads = (0..40).map(|_| get(&http, Purpose::Watch, "/"));
    assert!(futures::future::join_all(reads).await.iter().all(Result::is_ok));
    assert_eq!(http.reads_per_connection(), Some(8));
    assert_eq!(highest.load(Ordering::SeqCst), 8);
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
    let request =
        WireRequest { method: Method::Get, target: "/slow".into(), body: vec![], blocks: false };
    let limit = Duration::from_millis(100);
    assert_eq!(get(&http, Purpose::Call, "/").await.unwrap(), "HTTP/2.0");
    http.renewals.core().await.unwrap();
    assert_eq!(
        http.exchange(Purpose::Call, &request, None, limit).await,
        Err(Trouble::Timeout(limit))
    );
    assert_eq!(get(&http, Purpose::Call, "/").await.unwrap(), "HTTP/2.0");
    http.renewals.core().await.unwrap();
    // All connections of its age are replaced.
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
