//! One connection to the agent, and one exchange over it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use actix_rt::task::JoinHandle;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, Version,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING},
    http::{Uri, uri::InvalidUri},
};
#[cfg(feature = "tls")]
use hyper::{
    client::conn::http2,
    http::uri::{Authority, Scheme},
};
use hyper_util::rt::TokioIo;
#[cfg(feature = "tls")]
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::Instant,
};

use super::{
    config::HttpConfig,
    trouble::{self, Fault},
};
use crate::{
    consul::{
        fact::Trouble,
        wire::{Method, WireReply, WireRequest},
    },
    secret::Secret,
};

/// The silence before the first keep-alive probe, the period of probes, and the number of
/// probes without an answer. A dead connection is closed after 14 s.
pub(super) const QUIET: Duration = Duration::from_secs(5);
pub(super) const ASK_PERIOD: Duration = Duration::from_secs(3);
pub(super) const MOST_UNANSWERED: u32 = 3;
#[cfg(feature = "tls")]
const GIVEN_UP: Duration = ASK_PERIOD.saturating_mul(MOST_UNANSWERED);

/// The most requests on one HTTP/2 connection: Consul allows 250.
pub(super) const MOST_STREAMS: usize = 240;

/// The first request on a connection. It needs no right and is cheap for the agent.
pub(super) const PROBE: &str = "/v1/status/leader";

const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

type Body = Full<Bytes>;

/// What every request to the agent carries.
pub(super) struct Route {
    host: HeaderValue,
    #[cfg(feature = "tls")]
    authority: Authority,
    /// The path of a reverse proxy, before the request's own.
    path: String,
    /// The namespace, partition and datacenter, after the request's own query.
    query: String,
    /// The credentials for a proxy.
    basic: Option<HeaderValue>,
    /// The same credentials in base64, as the header has them.
    encoded: Option<Secret>,
}

impl Route {
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(config: &HttpConfig) -> Result<Self, String> {
        let authority = config.address.authority();
        let host = HeaderValue::from_str(authority).map_err(|_| "address is no header's value")?;
        let encoded = config.basic.as_ref().map(|secret| {
            // Without a colon, the password is empty.
            let text = secret.expose();
            let colon = if text.contains(':') { "" } else { ":" };
            Secret::new(BASE64.encode(format!("{text}{colon}")))
        });
        let basic = encoded.as_ref().map(|encoded| {
            HeaderValue::from_str(&format!("Basic {}", encoded.expose())).map(|mut value| {
                // Keeps it out of the HTTP client's logs.
                value.set_sensitive(true);
                value
            })
        });
        Ok(Self {
            host,
            #[cfg(feature = "tls")]
            authority: authority.parse().map_err(|_| "address has no authority")?,
            path: config.address.path().to_owned(),
            query: config.query.clone(),
            basic: basic.transpose().map_err(|_| "http_auth cannot be sent")?,
            encoded,
        })
    }

    /// The body without the credentials, which a proxy's error page may repeat.
    fn without_credentials(&self, body: Vec<u8>) -> Vec<u8> {
        match &self.encoded {
            None => body,
            Some(encoded) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                encoded.strike_from(text).into_bytes()
            }
        }
    }

    fn target(&self, target: &str) -> String {
        let Self { path, query, .. } = self;
        let joint = match target.contains('?') {
            _ if query.is_empty() => "",
            true => "&",
            false => "?",
        };
        [path, target, joint, query].concat()
    }
}

/// A connection. Dropping it closes it.
pub(super) struct Line {
    sender: Sender,
    route: Rc<Route>,
    tasks: Vec<JoinHandle<()>>,
    /// The number of requests on it.
    pub(super) taken: Cell<usize>,
    /// It failed and closes once its current requests end.
    pub(super) retired: Cell<bool>,
    /// When it last answered.
    pub(super) answered_at: Cell<Instant>,
    /// Its requests are given up: it is silent.
    pub(super) silent: Notify,
}

enum Sender {
    Http1(RefCell<http1::SendRequest<Body>>),
    #[cfg(feature = "tls")]
    Http2 {
        sender: http2::SendRequest<Body>,
        /// The number of streams that the server allows now.
        streams: Box<dyn Fn() -> usize>,
    },
}

impl Line {
    pub(super) async fn http1<S>(stream: S, route: Rc<Route>) -> Result<Self, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|err| trouble::of_handshake(&err))?;
        let task = actix_rt::spawn(connection.map(drop));
        Ok(Self::new(Sender::Http1(RefCell::new(sender)), vec![task], route))
    }

    #[cfg(feature = "tls")]
    pub(super) async fn http2<S>(stream: S, route: Rc<Route>) -> Result<Self, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let local = Local::default();
        let mut builder = http2::Builder::new(local.clone());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(QUIET)
            .keep_alive_timeout(GIVEN_UP)
            .keep_alive_while_idle(true);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|err| trouble::of_handshake(&err))?;
        let connection = Rc::new(RefCell::new(connection));
        // The task alone keeps it: hyper counts the connection as closed, and returns requests that
        // were not sent, when it is dropped.
        let shared = Rc::downgrade(&connection);
        let task = actix_rt::spawn(async move {
            use std::{future::poll_fn, pin::Pin};
            drop(poll_fn(|context| Pin::new(&mut *connection.borrow_mut()).poll(context)).await);
        });
        let mut tasks = vec![task];
        tasks.extend(local.0.take());
        let streams = Box::new(move || {
            shared.upgrade().map_or(0, |connection| connection.borrow().current_max_send_streams())
        });
        Ok(Self::new(Sender::Http2 { sender, streams }, tasks, route))
    }

    fn new(sender: Sender, tasks: Vec<JoinHandle<()>>, route: Rc<Route>) -> Self {
        Self {
            sender,
            route,
            tasks,
            taken: Cell::new(0),
            retired: Cell::new(false),
            answered_at: Cell::new(Instant::now()),
            silent: Notify::new(),
        }
    }

    /// How many requests it carries at once: as many as the server allows, at most
    /// [`MOST_STREAMS`].
    pub(super) fn streams(&self) -> usize {
        match &self.sender {
            Sender::Http1(_) => 1,
            #[cfg(feature = "tls")]
            Sender::Http2 { streams, .. } => streams().clamp(1, MOST_STREAMS),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.taken.get() == 0
    }

    /// Whether it can carry no further request.
    pub(super) fn is_over(&self) -> bool {
        self.retired.get()
            || match &self.sender {
                Sender::Http1(sender) => sender.borrow().is_closed(),
                #[cfg(feature = "tls")]
                Sender::Http2 { sender, .. } => sender.is_closed(),
            }
    }

    /// Sends the first request and returns the status of its answer.
    pub(super) async fn probe(&self) -> Result<u16, Fault> {
        let request = WireRequest {
            method: Method::Get,
            target: PROBE.into(),
            body: Vec::new(),
            blocks: false,
        };
        let reply = self.ask(&request, None, 64 * 1024).await;
        reply.map(|reply| reply.status)
    }

    /// Performs one exchange. Reads the complete answer, at most `longest` bytes.
    ///
    /// # Cancel safety
    /// On HTTP/1.1, dropping the future closes the connection.
    pub(super) async fn ask(
        &self,
        request: &WireRequest,
        token: Option<&HeaderValue>,
        longest: usize,
    ) -> Result<WireReply, Fault> {
        let request = self.request(request, token)?;
        let response = match &self.sender {
            Sender::Http1(sender) => {
                // The connection may not have noticed the end of the last answer yet.
                std::future::poll_fn(|context| sender.borrow_mut().poll_ready(context))
                    .await
                    .map_err(|err| Fault::Unsent(Trouble::Connect(err.to_string())))?;
                let sent = sender.borrow_mut().try_send_request(request);
                sent.await
            }
            #[cfg(feature = "tls")]
            Sender::Http2 { sender, .. } => {
                let sent = sender.clone().try_send_request(request);
                sent.await
            }
        };
        let response = response.map_err(trouble::of_sending)?;
        self.read(response, longest).await
    }

    fn request(
        &self,
        request: &WireRequest,
        token: Option<&HeaderValue>,
    ) -> Result<Request<Body>, Fault> {
        let method = match request.method {
            Method::Get => hyper::Method::GET,
            Method::Put => hyper::Method::PUT,
            Method::Post => hyper::Method::POST,
        };
        let bad_target =
            |why: String| Fault::Unsent(Trouble::Connect(format!("bad target: {why}")));
        let target: Uri = self
            .route
            .target(&request.target)
            .parse()
            .map_err(|err: InvalidUri| bad_target(err.to_string()))?;
        let mut asked = Request::new(Full::new(Bytes::from(request.body.clone())));
        *asked.method_mut() = method;
        match &self.sender {
            Sender::Http1(_) => {
                *asked.uri_mut() = target;
                asked.headers_mut().insert(HOST, self.route.host.clone());
                if request.method != Method::Get {
                    // Sent even if 0: some proxies require it.
                    asked.headers_mut().insert(CONTENT_LENGTH, request.body.len().into());
                }
            }
            #[cfg(feature = "tls")]
            Sender::Http2 { .. } => {
                let mut parts = target.into_parts();
                let authority = self.route.authority.clone();
                (parts.scheme, parts.authority) = (Some(Scheme::HTTPS), Some(authority));
                *asked.uri_mut() =
                    Uri::from_parts(parts).map_err(|err| bad_target(err.to_string()))?;
            }
        }
        if let Some(basic) = &self.route.basic {
            asked.headers_mut().insert(AUTHORIZATION, basic.clone());
        }
        if let Some(token) = token {
            asked.headers_mut().insert(TOKEN, token.clone());
        }
        Ok(asked)
    }

    async fn read(&self, response: Response<Incoming>, longest: usize) -> Result<WireReply, Fault> {
        let (head, mut body) = response.into_parts();
        let too_long = || Fault::Other(Trouble::TooLong);
        if body.size_hint().lower() > longest as u64 {
            return Err(too_long());
        }
        let mut bytes = Vec::with_capacity(body.size_hint().lower() as usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|err| trouble::of_receiving(&err))?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > longest {
                    return Err(too_long());
                }
                bytes.extend_from_slice(data);
            }
        }
        // hyper detects a body that ends before its length or its last chunk. A body with
        // neither ends with the connection: an empty one may be a truncated one.
        let is_framed = head.version == Version::HTTP_2
            || head.headers.contains_key(CONTENT_LENGTH)
            || head.headers.contains_key(TRANSFER_ENCODING);
        let has_none = matches!(head.status.as_u16(), 204 | 304);
        if bytes.is_empty() && !is_framed && !has_none {
            return Err(Fault::Other(Trouble::Broken("closed within the body".into())));
        }
        self.answered_at.set(Instant::now());
        let bytes = self.route.without_credentials(bytes);
        let index = number(head.headers.get_all(INDEX).iter());
        Ok(WireReply { status: head.status.as_u16(), index, body: bytes })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Parses a header that occurs once and is a number.
fn number<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<u64> {
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}

/// Runs the tasks of an HTTP/2 connection on this thread, and keeps the handle of the
/// first, which drives the connection.
#[cfg(feature = "tls")]
#[derive(Clone, Default)]
struct Local(Rc<RefCell<Option<JoinHandle<()>>>>);

#[cfg(feature = "tls")]
impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        // An `async` block would reserve the space of the task twice.
        let task = actix_rt::spawn(task.map(drop));
        let mut first = self.0.borrow_mut();
        if first.is_none() {
            *first = Some(task);
        }
    }
}
