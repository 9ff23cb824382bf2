//! Misbehaving agents: every exchange ends in time with the right trouble, and no broken
//! connection is used again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::super::*;
use crate::config::TlsSettings;
use crate::consul::ask::tests::hostile::verdicts;

/// The limit of an exchange that no answer ends.
const LIMIT: Duration = Duration::from_millis(300);
/// The limit of the others.
const LONG: Duration = Duration::from_secs(30);
const GOOD: &str = "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 4\r\n\r\ntrue";

/// The server's reaction to a request, once it has read its head.
#[derive(Clone, Debug)]
pub(in crate::consul) enum Deed {
    Say(String),
    SayAndClose(String),
    SayAndHang(String),
    SayAndLater(String, String, Arc<Notify>),
    /// Byte by byte, with pauses.
    Trickle(String, Duration),
    /// Endless chunks.
    Flood,
    Reset,
}

pub(in crate::consul) struct Server {
    pub(in crate::consul) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The number of connections that are open.
    open: Arc<AtomicUsize>,
    /// Connections beyond so many that are open are reset at once.
    most: Arc<AtomicUsize>,
    /// What such a connection says first, before it has read anything.
    farewell: Arc<std::sync::Mutex<String>>,
    /// The answer to the probes of new connections; none if empty.
    probed: Arc<std::sync::Mutex<String>>,
    requests: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Server {
    /// The deeds in turn, whatever the connection; after them, good answers.
    pub(in crate::consul) async fn doing(deeds: Vec<Deed>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (heads, requests) = tokio::sync::mpsc::unbounded_channel();
        let deeds = Arc::new(std::sync::Mutex::new(deeds.into_iter()));
        let count = Arc::clone(&connections);
        let most = Arc::new(AtomicUsize::new(usize::MAX));
        let opened = Arc::new(AtomicUsize::new(0));
        let (open, limit) = (Arc::clone(&opened), Arc::clone(&most));
        let farewell = Arc::new(std::sync::Mutex::new(String::new()));
        let says = Arc::clone(&farewell);
        let probed = Arc::new(std::sync::Mutex::new(GOOD.to_owned()));
        let probes = Arc::clone(&probed);
        actix_rt::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if open.load(Ordering::SeqCst) >= limit.load(Ordering::SeqCst) {
                    let says = says.lock().unwrap().clone();
                    if says.is_empty() {
                        let _ = stream.set_zero_linger();
                    } else {
                        let _ = stream.write_all(says.as_bytes()).await;
                    }
                    continue;
                }
                open.fetch_add(1, Ordering::SeqCst);
                count.fetch_add(1, Ordering::SeqCst);
                let (deeds, heads, open) = (Arc::clone(&deeds), heads.clone(), Arc::clone(&open));
                let probes = Arc::clone(&probes);
                actix_rt::spawn(async move {
                    let next = || deeds.lock().unwrap().next().unwrap_or(Deed::Say(GOOD.into()));
                    serve(stream, next, heads, &probes).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, connections, open: opened, most, farewell, probed, requests }
    }

    fn allow(&self, most: usize) {
        self.most.store(most, Ordering::SeqCst);
    }

    fn say_beyond(&self, farewell: &str) {
        farewell.clone_into(&mut self.farewell.lock().unwrap());
    }

    fn answer_probes(&self, answer: &str) {
        answer.clone_into(&mut self.probed.lock().unwrap());
    }

    pub(in crate::consul) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until the server has seen that no more than so many connections are open.
    async fn has_at_most(&self, open: usize) {
        while self.open.load(Ordering::SeqCst) > open {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn http(&self) -> Http {
        Http::new(&config(&self.address.to_string())).unwrap()
    }
}

pub(in crate::consul) fn config(address: &str) -> HttpConfig {
    HttpConfig {
        address: Address::parse(address).unwrap(),
        basic: None,
        query: String::new(),
        renewals: 2,
        calls: 1,
        watches: 2,
        tls: TlsSettings::default(),
        #[cfg(feature = "tls")]
        ready_tls: None,
    }
}

async fn serve(
    mut stream: TcpStream,
    next: impl Fn() -> Deed,
    heads: tokio::sync::mpsc::UnboundedSender<String>,
    probed: &std::sync::Mutex<String>,
) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        if head.contains(line::PROBE) {
            let answer = probed.lock().unwrap().clone();
            stream.write_all(answer.as_bytes()).await.ok()?;
            continue;
        }
        heads.send(head).ok()?;
        match next() {
            Deed::Say(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Deed::SayAndClose(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                return None;
            }
            Deed::SayAndHang(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                std::future::pending::<()>().await;
            }
            Deed::SayAndLater(now, later, said) => {
                stream.write_all(now.as_bytes()).await.ok()?;
                actix_rt::time::sleep(Duration::from_millis(15)).await;
                stream.write_all(later.as_bytes()).await.ok()?;
                // Until the client has closed its end.
                while matches!(stream.read(&mut [0; 64]).await, Ok(read) if read > 0) {}
                said.notify_one();
            }
            Deed::Trickle(text, pause) => {
                for byte in text.bytes() {
                    stream.write_u8(byte).await.ok()?;
                    if pause.is_zero() {
                        actix_rt::task::yield_now().await;
                    } else {
                        actix_rt::time::sleep(pause).await;
                    }
                }
            }
            Deed::Flood => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await
                    .ok()?;
                let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
                loop {
                    stream.write_all(chunk.as_bytes()).await.ok()?;
                }
            }
            Deed::Reset => {
                stream.set_zero_linger().ok()?;
                return None;
            }
        }
    }
}

/// A write, which is not sent twice.
fn ask() -> WireRequest {
    WireRequest {
        method: Method::Put,
        target: "/v1/kv/a%20b?index=7".into(),
        body: vec![],
        blocks: false,
    }
}

async fn call(http: &Http) -> Result<WireReply, Trouble> {
    http.exchange(Purpose::Call, &ask(), None, LONG).await
}

fn good() -> Result<WireReply, Trouble> {
    Ok(WireReply { status: 200, index: Some(7), body: b"true".to_vec() })
}

/// Performs `first` while `other`, which does not end, is under way; then drops that.
async fn until<T>(first: impl Future<Output = T>, other: impl Future) -> T {
    match select(pin!(first), pin!(other)).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("the other was to go on"),
    }
}

/// Two connections for renewals and one for calls.
const CORE: usize = RENEWALS_KEPT + CALLS_KEPT;

/// Waits until all connections that stay open are open.
async fn settled(http: &Http) {
    http.tend();
    http.renewals.core().await.unwrap();
    http.calls.core().await.unwrap();
}

/// Waits until the client has seen that its connection for calls is closed.
async fn call_line_closes(http: &Http) {
    while http.calls.standing() > 0 {
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The outcome of one exchange with `deed`, after which all must be well again,
/// with `more` connections made after the first ones.
async fn outcome(deed: Deed, more: usize) -> Result<WireReply, Trouble> {
    outcome_within(LONG, deed, more).await
}

async fn outcome_within(limit: Duration, deed: Deed, more: usize) -> Result<WireReply, Trouble> {
    let server = Server::doing(vec![Deed::Say(GOOD.into()), deed]).await;
    let http = server.http();
    settled(&http).await;
    assert_eq!(call(&http).await, good());
    let request = ask();
    let exchange = http.exchange(Purpose::Call, &request, None, limit);
    let outcome = tokio::time::timeout(LONG, exchange).await.expect("it ends at its limit");
    assert_eq!(call(&http).await, good(), "after {outcome:?}");
    settled(&http).await;
    assert_eq!(server.connections(), CORE + more, "after {outcome:?}");
    outcome
}

fn with_length(head: &str, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[actix::test]
async fn a_whole_answer_is_handed_on_whatever_it_says_and_its_connection_kept() {
    for (head, body) in [
        ("200 OK", "<html>Welcome</html>"),
        ("200 OK", "[{\"ID\": \"ee4"),
        ("404 Not Found", ""),
        ("500 Internal Server Error", "No cluster leader"),
    ] {
        let reply = outcome(Deed::Say(with_length(head, body.len(), body)), 0).await.unwrap();
        assert_eq!((reply.index, reply.body.as_slice()), (None, body.as_bytes()));
        assert!(head.starts_with(&reply.status.to_string()));
    }
}

#[actix::test]
async fn a_redirect_is_not_followed() {
    let text =
        "HTTP/1.1 301 Moved Permanently\r\nLocation: /v1/kv/other\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(outcome(Deed::Say(text.into()), 0).await.unwrap().status, 301);
}

#[actix::test]
async fn a_connection_that_closes_or_resets_is_broken() {
    for deed in [
        Deed::SayAndClose(String::new()),
        Deed::Reset,
        Deed::SayAndClose("HTTP/1.1 200 OK\r\nContent-Le".into()),
        Deed::SayAndClose(with_length("200 OK", 40, "[{\"ID\":")),
        Deed::SayAndClose("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n".into()),
        Deed::SayAndClose("HTTP/1.1 404 Not Found\r\n\r\n".into()),
        Deed::SayAndClose(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[{}]\r\n".into(),
        ),
    ] {
        let result = outcome(deed, 1).await;
        assert!(matches!(result, Err(Trouble::Broken(_))), "{result:?}");
    }
}

#[actix::test]
async fn silence_before_the_head_or_within_the_body_is_a_timeout() {
    for said in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntru",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntrue\r\n",
        "HTTP/1.1 404 Not Found\r\n\r\n",
    ] {
        // All connections of its age are replaced.
        let result = outcome_within(LIMIT, Deed::SayAndHang(said.into()), CORE).await;
        assert_eq!(result, Err(Trouble::Timeout(LIMIT)), "{said:?}");
    }
}

#[actix::test]
async fn an_endless_or_huge_body_is_cut_off() {
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx";
    for deed in [Deed::Flood, Deed::SayAndHang(huge.into())] {
        let result = outcome(deed, 1).await;
        assert_eq!(result, Err(Trouble::TooLong));
    }
}

#[actix::test]
async fn what_is_not_http_is_not_consul() {
    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n"] {
        let result = outcome(Deed::SayAndHang(garbage.into()), 1).await;
        assert!(matches!(result, Err(Trouble::NotConsul(_))), "{garbage:?}: {result:?}");
    }
}

#[actix::test]
async fn a_length_that_is_no_number_is_not_consul() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\ntrue";
    let result = outcome(Deed::SayAndHang(text.into()), 1).await;
    assert!(matches!(result, Err(Trouble::NotConsul(_))), "{result:?}");
}

#[actix::test]
async fn bytes_that_nobody_asked_for_spoil_their_connection() {
    let said = Arc::new(Notify::new());
    let deed = Deed::SayAndLater(GOOD.into(), GOOD.into(), said.clone());
    let server = Server::doing(vec![deed]).await;
    let http = server.http();
    settled(&http).await;
    assert_eq!(call(&http).await, good());
    let closed = tokio::time::timeout(Duration::from_secs(10), said.notified());
    closed.await.expect("the client closes the connection");
    assert_eq!(call(&http).await, good());
    assert_eq!(server.connections(), CORE + 1);
}

#[actix::test]
async fn an_empty_body_that_a_proxy_sends_in_chunks_is_whole() {
    let text = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let reply = outcome(Deed::Say(text.into()), 0).await.unwrap();
    assert_eq!((reply.status, reply.body.len()), (404, 0));
    let text = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n0\r\nX-T: 1\r\n\r\n";
    assert_eq!(outcome(Deed::Say(text.into()), 0).await.unwrap().status, 404);
    assert_eq!(
        outcome(Deed::Say("HTTP/1.1 204 No Content\r\n\r\n".into()), 0).await.unwrap().status,
        204
    );
}

#[actix::test]
async fn a_body_that_ends_with_its_connection_is_whole_if_there_is_one() {
    let reply = outcome(Deed::SayAndClose("HTTP/1.0 200 OK\r\n\r\n[]".into()), 1).await.unwrap();
    assert_eq!(reply.body, b"[]");
}

#[actix::test]
async fn an_index_that_is_double_or_no_number_is_none() {
    for header in
        ["X-Consul-Index: -1", "X-Consul-Index: x", "X-Consul-Index: 1\r\nX-Consul-Index: 2"]
    {
        let text = format!("HTTP/1.1 200 OK\r\n{header}\r\nContent-Length: 4\r\n\r\ntrue");
        assert_eq!(outcome(Deed::Say(text), 0).await.unwrap().index, None, "{header}");
    }
}

#[actix::test]
async fn where_nobody_listens_no_connection_is_made() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let http = Http::new(&config(&free.to_string())).unwrap();
    assert!(matches!(call(&http).await, Err(Trouble::Connect(_))));
}

#[actix::test]
async fn a_request_carries_the_token_and_nothing_that_was_not_asked_for() {
    let mut server = Server::doing(vec![]).await;
    let http = Http::new(&HttpConfig {
        address: Address::parse(&format!("http://{}/gate/way", server.address)).unwrap(),
        basic: Some("me:hush".into()),
        query: "dc=a&ns=b".into(),
        ..config(&server.address.to_string())
    });
    let token = HeaderValue::from_static("s3cr3t");
    let reply = http.unwrap().exchange(Purpose::Call, &ask(), Some(&token), LONG).await;
    assert_eq!(reply, good());
    let head = server.requests.recv().await.unwrap();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").map(str::to_ascii_lowercase).collect();
    assert_eq!(lines.remove(0), "put /gate/way/v1/kv/a%20b?index=7&dc=a&ns=b http/1.1");
    lines.retain(|line| !line.starts_with("host: ") && !line.starts_with("date: "));
    lines.retain(|line| line != "content-length: 0");
    lines.sort();
    assert_eq!(lines, ["authorization: basic bwu6ahvzaa==", "x-consul-token: s3cr3t"]);
}

#[actix::test]
async fn credentials_that_an_answer_repeats_are_struck_from_it() {
    let echo = "you sent Authorization: Basic bWU6aHVzaA==";
    let answer =
        format!("HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\n\r\n{echo}", echo.len());
    let server = Server::doing(vec![Deed::Say(answer)]).await;
    let config =
        HttpConfig { basic: Some("me:hush".into()), ..config(&server.address.to_string()) };
    let reply = call(&Http::new(&config).unwrap()).await.unwrap();
    assert_eq!(String::from_utf8(reply.body).unwrap(), "you sent Authorization: Basic (secret)");
}

#[actix::test]
async fn renewals_and_calls_pass_blocking_reads_and_who_finds_no_connection_was_not_sent() {
    let mut server = Server::doing(vec![Deed::SayAndHang(String::new()); 2]).await;
    let http = server.http();
    let read = ask();
    let watch = || http.exchange(Purpose::Watch, &read, None, LONG);
    let others = async {
        for _ in 0..2 {
            server.requests.recv().await.unwrap();
        }
        for purpose in [Purpose::Renewal, Purpose::Call] {
            assert_eq!(http.exchange(purpose, &ask(), None, LONG).await, good());
        }
        let third = http.exchange(Purpose::Watch, &ask(), None, LIMIT).await;
        assert!(matches!(third, Err(Trouble::Connect(_))), "{third:?}");
        assert_eq!(server.connections(), CORE + 2);
    };
    until(others, futures::future::join(watch(), watch())).await;
    assert_eq!(http.exchange(Purpose::Watch, &ask(), None, LONG).await, good());
}

#[actix::test]
async fn renewals_and_calls_have_their_connections_before_any_blocking_read() {
    let server = Server::doing(vec![]).await;
    server.allow(CORE);
    let http = server.http();
    let blocking = WireRequest { blocks: true, ..ask() };
    let read = http.exchange(Purpose::Watch, &blocking, None, LONG).await;
    assert!(matches!(read, Err(Trouble::Refused(_))), "{read:?}");
    // A short read uses a connection for calls.
    assert_eq!(http.exchange(Purpose::Watch, &ask(), None, LONG).await, good());
    assert_eq!(server.connections(), CORE);
    for purpose in [Purpose::Renewal, Purpose::Call, Purpose::Renewal] {
        assert_eq!(http.exchange(purpose, &ask(), None, LONG).await, good());
    }
    assert!(http.take_refused() && !http.take_refused());
    server.allow(CORE + 1);
    assert_eq!(http.exchange(Purpose::Watch, &ask(), None, LONG).await, good());
    assert_eq!(server.connections(), CORE + 1);
}

#[actix::test]
async fn renewals_whose_connections_broke_where_no_other_is_taken_get_those_of_reads() {
    let shut = Deed::SayAndClose(String::new());
    let server = Server::doing(vec![Deed::Say(GOOD.into()), shut.clone(), shut]).await;
    let http = server.http();
    assert_eq!(http.exchange(Purpose::Watch, &ask(), None, LONG).await, good());
    // Both are closed, and another client has their places.
    server.allow(2);
    for _ in 0..4 {
        assert_eq!(http.exchange(Purpose::Renewal, &ask(), None, LONG).await, good());
    }
    assert_eq!(server.connections(), CORE + 1);
}

#[actix::test]
async fn a_silence_costs_no_other_connection_of_its_age_where_no_new_one_is_taken() {
    let server = Server::doing(vec![Deed::SayAndHang(String::new())]).await;
    let http = server.http();
    settled(&http).await;
    server.allow(0);
    let silence = http.exchange(Purpose::Renewal, &ask(), None, LIMIT).await;
    assert_eq!(silence, Err(Trouble::Timeout(LIMIT)));
    for purpose in [Purpose::Renewal, Purpose::Call, Purpose::Renewal] {
        assert_eq!(http.exchange(purpose, &ask(), None, LONG).await, good());
    }
    assert_eq!(server.connections(), CORE);
}

/// A transport, and the switch that lets it open no further connection: as if the process had no
/// file or port left, or, if it `hangs`, as if the name server did not answer.
fn cut_from(server: &Server, hangs: bool) -> (Http, Rc<Cell<bool>>) {
    let (at, is_cut) = (server.address, Rc::new(Cell::new(false)));
    let (cut, config) = (is_cut.clone(), config("http://agent.example:8500"));
    let mut dialer = Dialer::new(&config).unwrap();
    dialer.resolve = Box::new(move |_, _| {
        let is_cut = cut.get();
        Box::pin(async move {
            match is_cut {
                false => Ok(vec![at]),
                true if hangs => std::future::pending().await,
                true => Err(std::io::ErrorKind::Other.into()),
            }
        })
    });
    (Http::over(dialer, &config), is_cut)
}

#[actix::test]
async fn where_no_connection_can_be_opened_those_that_stand_are_used() {
    for hangs in [false, true] {
        // A silence accuses the connections of its age.
        let server = Server::doing(vec![Deed::SayAndHang(String::new())]).await;
        let (http, is_cut) = cut_from(&server, hangs);
        settled(&http).await;
        is_cut.set(true);
        let silence = http.exchange(Purpose::Renewal, &ask(), None, LIMIT).await;
        assert_eq!(silence, Err(Trouble::Timeout(LIMIT)));
        for purpose in [Purpose::Renewal, Purpose::Call, Purpose::Renewal] {
            assert_eq!(http.exchange(purpose, &ask(), None, LONG).await, good(), "{hangs}");
        }
        assert_eq!(server.connections(), CORE);
    }

    // Both connections for renewals close.
    let shut = Deed::SayAndClose(String::new());
    let server = Server::doing(vec![Deed::Say(GOOD.into()), shut.clone(), shut]).await;
    let (http, is_cut) = cut_from(&server, false);
    assert_eq!(http.exchange(Purpose::Watch, &ask(), None, LONG).await, good());
    is_cut.set(true);
    for _ in 0..4 {
        assert_eq!(http.exchange(Purpose::Renewal, &ask(), None, LONG).await, good());
    }
    let blocking = WireRequest { blocks: true, ..ask() };
    let read = http.exchange(Purpose::Watch, &blocking, None, LONG).await;
    assert!(matches!(read, Err(Trouble::Connect(_))), "renewals have its connection: {read:?}");
    assert_eq!(server.connections(), CORE + 1);
}

#[actix::test]
async fn an_agent_that_answers_again_is_reached_although_earlier_connections_hang() {
    for purpose in [Purpose::Renewal, Purpose::Call] {
        let server = Server::doing(vec![]).await;
        server.answer_probes("");
        let http = server.http();
        let hanging = http.exchange(purpose, &ask(), None, Duration::from_secs(1)).await;
        assert!(matches!(hanging, Err(Trouble::Connect(_))), "{hanging:?}");
        server.answer_probes(GOOD);
        let begun = std::time::Instant::now();
        assert_eq!(http.exchange(purpose, &ask(), None, LONG).await, good());
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "{purpose:?}: the others end after 5 s: {took:?}");
    }
}

#[actix::test]
async fn an_agent_that_closes_each_connection_after_one_answer_is_named_and_not_dialed_in_a_circle()
{
    let server = Server::doing(vec![]).await;
    server.answer_probes(&GOOD.replace("OK\r\n", "OK\r\nConnection: close\r\n"));
    let http = server.http();
    for _ in 0..2 {
        let Err(Trouble::Connect(why)) = call(&http).await else { panic!("it was answered") };
        assert!(why.contains("closes each connection after one answer"), "{why}");
    }
    assert!(server.connections() <= 2 * CORE + 2, "{}", server.connections());
}

#[actix::test]
async fn a_refusal_long_ago_does_not_show_that_the_agent_is_full() {
    let server = Server::doing(vec![]).await;
    let http = server.http();
    settled(&http).await;
    for (age, shows) in [(Duration::ZERO, true), (REFUSAL_LASTS, false)] {
        http.dialer.refused_at.set(Instant::now().checked_sub(age));
        assert_eq!(http.take_refused(), shows);
    }
}

#[actix::test]
async fn a_renewal_whose_connection_closes_is_sent_again_over_another() {
    let shut = Deed::SayAndClose(String::new());
    let server = Server::doing(vec![Deed::Say(GOOD.into()), shut]).await;
    let http = server.http();
    settled(&http).await;
    for _ in 0..3 {
        assert_eq!(http.exchange(Purpose::Renewal, &ask(), None, LONG).await, good());
    }
    settled(&http).await;
    assert_eq!(server.connections(), CORE + 1);
}

#[actix::test]
async fn a_read_whose_connection_closes_without_an_answer_is_sent_again() {
    let shut = Deed::SayAndClose(String::new());
    let server = Server::doing(vec![shut.clone(), Deed::Reset, shut]).await;
    let http = server.http();
    let read = WireRequest { method: Method::Get, ..ask() };
    assert_eq!(http.exchange(Purpose::Call, &read, None, Duration::from_secs(5)).await, good());
    assert_eq!(server.connections(), CORE + 3);
}

#[actix::test]
async fn an_agent_that_takes_no_more_connections_refuses_a_probe() {
    let server = Server::doing(vec![]).await;
    let http = server.http();
    assert_eq!(http.exchange(Purpose::Watch, &ask(), None, LONG).await, good());
    assert_eq!(http.probe().await, Ok(()));
    server.allow(CORE + 1);
    let probed = http.probe().await;
    assert!(matches!(probed, Err(Trouble::Refused(_))), "{probed:?}");
    assert_eq!(http.exchange(Purpose::Watch, &ask(), None, LONG).await, good());
}

/// Consul 1.9 and later answers 429 as soon as it has accepted the connection.
const TOO_MANY: &str = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n\
                        Content-Length: 9\r\nConnection: close\r\n\r\ntoo many\n";

#[actix::test]
async fn a_refused_connection_of_any_purpose_is_noticed() {
    for farewell in ["", TOO_MANY] {
        let mut server = Server::doing(vec![Deed::SayAndHang(String::new())]).await;
        server.say_beyond(farewell);
        let address = format!("http://{}", server.address);
        let http = Http::new(&HttpConfig { calls: 2, ..config(&address) }).unwrap();
        settled(&http).await;
        server.allow(CORE);
        let request = ask();
        let second = async {
            server.requests.recv().await.unwrap();
            http.exchange(Purpose::Call, &ask(), None, LIMIT).await
        };
        let second = until(second, http.exchange(Purpose::Call, &request, None, LONG)).await;
        assert!(matches!(second, Err(Trouble::Connect(_))), "{second:?}");
        assert!(http.take_refused() && !http.take_refused());
    }
}

#[actix::test]
async fn a_refusal_is_forgotten_once_a_connection_is_taken() {
    let last = Deed::SayAndClose(GOOD.into());
    let server = Server::doing(vec![last.clone(), last]).await;
    let http = server.http();
    settled(&http).await;
    for is_refused in [true, false] {
        assert_eq!(call(&http).await, good());
        call_line_closes(&http).await;
        server.has_at_most(RENEWALS_KEPT).await;
        if is_refused {
            server.allow(RENEWALS_KEPT);
            assert!(matches!(call(&http).await, Err(Trouble::Refused(_))));
            server.allow(usize::MAX);
        } else {
            assert_eq!(call(&http).await, good());
        }
        assert_eq!(http.take_refused(), is_refused);
    }
}

#[actix::test]
async fn no_request_asks_for_compression_and_a_compressed_answer_is_not_guessed_at() {
    let zipped = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nX-Consul-Index: 7\r\n\
                  Content-Length: 4\r\n\r\n\x1f\x08zz";
    let mut server = Server::doing(vec![Deed::Say(zipped.into())]).await;
    let http = server.http();
    let reply = call(&http).await.unwrap();
    assert_eq!((reply.status, &*reply.body), (200, &b"\x1f\x08zz"[..]));
    let head = server.requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(!head.contains("accept-encoding"), "{head}");
    assert_eq!(verdicts(&reply), 0);
}

#[actix::test]
async fn a_proxy_that_says_when_to_come_back_delays_no_other_request() {
    let later =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let server = Server::doing(vec![Deed::Say(later.into())]).await;
    let http = server.http();
    assert_eq!(call(&http).await.unwrap().status, 503);
    assert_eq!(call(&http).await, good());
}

#[actix::test]
async fn a_short_read_does_not_wait_behind_the_only_blocking_one_whatever_its_key() {
    let mut server = Server::doing(vec![Deed::SayAndHang(String::new())]).await;
    let http = server.http();
    http.bound(1, 2);
    let blocking = WireRequest { blocks: true, ..ask() };
    let short = async {
        server.requests.recv().await.unwrap();
        let named = WireRequest { target: "/v1/kv/wait=21?consistent".into(), ..ask() };
        assert_eq!(http.exchange(Purpose::Watch, &named, None, LONG).await, good());
    };
    until(short, http.exchange(Purpose::Watch, &blocking, None, LONG)).await;
}

#[actix::test]
async fn fewer_connections_for_reads_close_those_that_nothing_is_on() {
    let server = Server::doing(vec![Deed::Trickle(GOOD.into(), Duration::ZERO); 2]).await;
    let http = server.http();
    let request = ask();
    let read = || http.exchange(Purpose::Watch, &request, None, LONG);
    let (one, other) = futures::join!(read(), read());
    assert_eq!((one, other), (good(), good()));
    http.bound(1, 2);
    server.has_at_most(CORE + 1).await;
    server.allow(CORE + 2);
    assert_eq!(http.probe().await, Ok(()));
}

#[actix::test]
async fn an_overloaded_proxy_is_as_an_agent_without_connections() {
    for status in ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable"] {
        let server = Server::doing(vec![Deed::Say(with_length(status, 4, "full"))]).await;
        let http = server.http();
        let read = http.exchange(Purpose::Watch, &ask(), None, LONG).await;
        assert!(matches!(read, Err(Trouble::Refused(_))), "{read:?}");
    }
}

#[actix::test]
async fn who_waits_for_a_connection_is_not_overtaken() {
    let mut server = Server::doing(vec![]).await;
    let http = server.http();
    let three_times = |path: &'static str| {
        let http = &http;
        async move {
            for _ in 0..3 {
                let request = WireRequest { target: path.into(), ..ask() };
                assert_eq!(http.exchange(Purpose::Call, &request, None, LONG).await, good());
            }
        }
    };
    futures::join!(three_times("/a"), three_times("/b"), three_times("/c"));
    for path in ["/a", "/b", "/c"].repeat(3) {
        let head = server.requests.recv().await.unwrap();
        assert!(head.starts_with(&format!("PUT {path} ")), "{head}");
    }
}

#[actix::test]
async fn a_request_that_waited_for_its_connection_blames_no_other_connection() {
    let slow = Deed::Trickle(GOOD.into(), Duration::from_millis(1));
    let server = Server::doing(vec![slow; 100]).await;
    let http = server.http();
    settled(&http).await;
    let (request, limit) = (ask(), Duration::from_secs(1));
    let calls = (0..40).map(|_| http.exchange(Purpose::Call, &request, None, limit));
    let results = futures::future::join_all(calls).await;
    let unsent = results.iter().filter(|it| matches!(it, Err(Trouble::Connect(_)))).count();
    assert!(unsent > 0, "{results:?}");
    // The connection of each unanswered request is closed, and no other.
    let unanswered = results.iter().filter(|it| matches!(it, Err(Trouble::Timeout(_)))).count();
    settled(&http).await;
    let made = server.connections();
    assert!(made <= CORE + unanswered, "{made} connections, {unanswered} unanswered");
}

#[actix::test]
async fn a_request_that_has_only_the_rest_of_a_limit_blames_no_other_connection() {
    let mut server = Server::doing(vec![Deed::SayAndHang(String::new()); 2]).await;
    let http = server.http();
    settled(&http).await;
    let blocking = WireRequest { blocks: true, ..ask() };
    let short = async {
        server.requests.recv().await.unwrap();
        let rest = Limit::from(LIMIT * 2).after(LIMIT);
        let silence = http.exchange(Purpose::Call, &ask(), None, rest).await;
        assert_eq!(silence, Err(Trouble::Timeout(LIMIT * 2)));
        settled(&http).await;
        assert_eq!(call(&http).await, good());
        // Only the connection without an answer was replaced.
        assert_eq!(server.connections(), CORE + 2);
    };
    until(short, http.exchange(Purpose::Watch, &blocking, None, LONG)).await;
}

#[actix::test]
async fn a_request_without_time_is_not_sent() {
    let mut server = Server::doing(vec![]).await;
    let http = server.http();
    settled(&http).await;
    let result = http.exchange(Purpose::Call, &ask(), None, Duration::ZERO).await;
    assert!(matches!(result, Err(Trouble::Connect(_))), "{result:?}");
    assert_eq!(call(&http).await, good());
    assert_eq!(server.connections(), CORE);
    server.requests.recv().await.unwrap();
    assert!(server.requests.try_recv().is_err());
}

#[actix::test]
async fn a_dropped_exchange_leaves_its_connection_to_nobody() {
    let mut server = Server::doing(vec![Deed::SayAndHang(String::new())]).await;
    let http = server.http();
    let request = ask();
    let sent = server.requests.recv();
    assert!(until(sent, http.exchange(Purpose::Call, &request, None, LONG)).await.is_some());
    assert_eq!(call(&http).await, good());
    assert_eq!(server.connections(), CORE + 1);
}

#[actix::test]
async fn a_pooled_connection_that_closed_meanwhile_is_replaced() {
    let server = Server::doing(vec![Deed::SayAndClose(GOOD.into())]).await;
    let http = server.http();
    assert_eq!(call(&http).await, good());
    call_line_closes(&http).await;
    assert_eq!(call(&http).await, good());
    settled(&http).await;
    assert_eq!(server.connections(), CORE + 1);
}

#[actix::test]
async fn a_connection_that_the_server_announces_to_close_carries_no_other_request() {
    let last = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{}", &GOOD[17..]);
    let server = Server::doing(vec![Deed::SayAndHang(last)]).await;
    let http = server.http();
    assert_eq!(call(&http).await, good());
    assert_eq!(call(&http).await, good());
    assert_eq!(server.connections(), CORE + 1);
}

#[cfg(not(feature = "tls"))]
#[actix::test]
async fn without_the_feature_an_https_address_is_refused_at_once() {
    let why = Http::new(&config("https://127.0.0.1:8501")).err().unwrap();
    assert!(why.contains("feature"), "{why}");
}

/// Performs an exchange on a connection whose other end says `bytes` and closes its half.
pub(crate) async fn answer_to(bytes: Vec<u8>, is_http2: bool) -> Result<WireReply, String> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (mut reads, mut writes) = tokio::io::split(theirs);
    let speaks = actix_rt::spawn(async move {
        let _ = writes.write_all(&bytes).await;
        let _ = writes.shutdown().await;
    });
    let listens = actix_rt::spawn(async move {
        let _ = tokio::io::copy(&mut reads, &mut tokio::io::sink()).await;
    });
    let route = Rc::new(line::Route::new(&config("127.0.0.1:8500")).unwrap());
    let exchange = async {
        let line = match is_http2 {
            #[cfg(feature = "tls")]
            true => line::Line::http2(ours, route).await,
            _ => line::Line::http1(ours, route).await,
        };
        let line = line.map_err(|trouble| trouble.to_string())?;
        let reply = line.ask(&ask(), None, LONGEST_BODY).await;
        reply.map_err(|fault| fault.into_trouble().to_string())
    };
    let result = tokio::time::timeout(Duration::from_secs(60), exchange).await;
    speaks.abort();
    listens.abort();
    result.unwrap_or_else(|_| Err("no answer in time".into()))
}
