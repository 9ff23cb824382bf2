//! The agent's HTTP server.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    thread,
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpResponseBuilder, HttpServer,
    dev::ServerHandle,
    http::{KeepAlive, StatusCode, header},
    rt::net::TcpStream,
    web,
};
use futures::StreamExt as _;
use tokio::sync::oneshot;

use super::{
    agent::Agent,
    api::{Content, Reply, too_long},
    connections::{Admitted, Connections, refuse},
};

/// The longest body, in bytes, that the server reads: more than any that Consul
/// accepts.
const MAX_BODY: usize = 1 << 20;

/// How long an idle connection stays open: in effect for ever, as with Consul.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The running HTTP server of an [`Embedded`](crate::embedded::Embedded) agent.
///
/// Dropping it stops the server without waiting. The agent keeps its data.
#[derive(Debug)]
#[must_use = "dropping the server stops it"]
pub struct EmbeddedServer {
    address: SocketAddr,
    handle: ServerHandle,
    ended: Option<oneshot::Receiver<()>>,
}

impl EmbeddedServer {
    pub(super) fn start(agent: Arc<Agent>, address: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (started, on_start) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("embedded-consul".into()).spawn(move || {
            // Dropped when the thread ends, in whichever way.
            let _end = end;
            actix_web::rt::System::new().block_on(async move {
                let connections = Arc::new(Connections::default());
                let limits = Arc::clone(&agent);
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(web::Data::from(Arc::clone(&agent)))
                        .default_service(web::to(answer))
                })
                .on_connect(move |stream, data| {
                    let stream = stream.downcast_ref::<TcpStream>();
                    if let Some((stream, client)) =
                        stream.and_then(|stream| Some((stream, stream.peer_addr().ok()?.ip())))
                    {
                        let (most, is_newer) = limits.connections();
                        match connections.admit(client, most) {
                            // Dropped when the connection closes.
                            Some(admitted) => drop(data.insert(admitted)),
                            None => refuse(stream, is_newer),
                        }
                    }
                })
                .workers(1)
                .keep_alive(KeepAlive::Timeout(IDLE))
                .client_disconnect_timeout(Duration::ZERO)
                // A connection that was not used yet stays open, too.
                .client_request_timeout(Duration::ZERO)
                .disable_signals()
                .listen(listener);
                match server {
                    Ok(server) => {
                        let server = server.run();
                        // Cannot fail: `start` waits for it.
                        let _ = started.send(Ok(server.handle()));
                        let _ = server.await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        })?;
        let handle = on_start.recv().map_err(|_| {
            io::Error::other("the embedded Consul's thread exited during startup")
        })??;
        Ok(Self { address, handle, ended: Some(ended) })
    }

    /// The address that the server listens on, with the actual port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's URL, such as `http://127.0.0.1:8500`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the server and waits for its thread to exit. Open connections close,
    /// including those with blocking reads.
    ///
    /// # Cancel safety
    /// The server stops even if the future is dropped.
    pub async fn stop(mut self) {
        let stopped = self.handle.stop(false);
        if let Some(ended) = self.ended.take() {
            stopped.await;
            // An error means that the sender was dropped: the thread has exited.
            let _ = ended.await;
        }
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        if self.ended.is_some() {
            // The call sends the command; the future only waits for the end.
            drop(self.handle.stop(false));
        }
    }
}

async fn answer(
    request: HttpRequest,
    mut payload: web::Payload,
    agent: web::Data<Agent>,
) -> HttpResponse {
    // A refused connection may have sent a request before it was closed.
    if request.conn_data::<Admitted>().is_none() {
        return HttpResponse::TooManyRequests().force_close().finish();
    }
    let method = request.method().as_str();
    // Not normalised: the API handles escapes and double slashes as Consul does.
    let target = request
        .uri()
        .path_and_query()
        .map_or_else(|| request.uri().path(), |target| target.as_str());
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    if let Some(refusal) = too_long(method, target, announced) {
        return response(refusal);
    }
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        match chunk {
            Ok(chunk) if body.len() + chunk.len() <= MAX_BODY => body.extend_from_slice(&chunk),
            Ok(_) => return HttpResponse::PayloadTooLarge().force_close().finish(),
            Err(_) => return HttpResponse::BadRequest().force_close().finish(),
        }
    }
    response(agent.serve(method, target, body).await)
}

fn response(reply: Reply) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if reply.routed {
        response.insert_header((header::VARY, "Accept-Encoding"));
    }
    if reply.close {
        response.force_close();
    }
    if let Some(meta) = reply.meta {
        if let Some(index) = meta.index {
            response.insert_header(("X-Consul-Index", index));
        }
        response.insert_header(("X-Consul-Knownleader", meta.known_leader.to_string()));
        response.insert_header(("X-Consul-Lastcontact", 0));
    }
    if let Some(allow) = reply.allow {
        response.insert_header((header::ALLOW, allow));
    }
    if let Some(location) = reply.location {
        response.insert_header((header::LOCATION, location));
    }
    name_content(&mut response, reply.content);
    response.body(reply.body)
}

fn name_content(response: &mut HttpResponseBuilder, content: Content) {
    let name = match content {
        Content::Unnamed => return,
        Content::Json => "application/json",
        Content::Text => "text/plain; charset=utf-8",
        Content::Html => "text/html; charset=utf-8",
        Content::Raw => {
            response.insert_header(("X-Content-Type-Options", "nosniff"));
            response.insert_header(("Content-Security-Policy", "sandbox"));
            "text/plain"
        }
    };
    response.insert_header((header::CONTENT_TYPE, name));
}
