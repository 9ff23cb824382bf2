//! The open connections of a server, and the refusal of those beyond its limit.

use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::net::{SendFlags, Shutdown, send, shutdown};

/// The number of open connections of each client address.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<IpAddr, usize>>);

/// A connection that was admitted.
pub(super) struct Admitted {
    connections: Arc<Connections>,
    client: IpAddr,
}

impl Connections {
    /// Admits a connection if its client has fewer than `most`.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr, most: Option<usize>) -> Option<Admitted> {
        let mut open = self.lock();
        let count = open.entry(client).or_default();
        if most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(Admitted { connections: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

/// What Consul says since 1.9, without having read a request.
const TOO_MANY: &str =
    "Your IP is issuing too many concurrent connections, please rate limit your calls\n";

/// Closes a connection beyond the limit, as Consul does.
pub(super) fn refuse(stream: impl AsFd, is_newer: bool) {
    // The client may be gone already.
    if is_newer {
        let length = TOO_MANY.len();
        let answer = format!(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{TOO_MANY}"
        );
        let _ = send(&stream, answer.as_bytes(), SendFlags::NOSIGNAL);
    }
    let _ = shutdown(&stream, Shutdown::Both);
}
