//! Maps hyper's errors to troubles.

use std::{error::Error as _, io};

use hyper::client::conn::TrySendError;

use crate::consul::fact::Trouble;

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The agent certainly did not process it.
    Unsent(Trouble),
    /// The connection ended before the first byte of an answer. The agent may have
    /// processed the request.
    Closed(Trouble),
    Other(Trouble),
}

impl Fault {
    pub(super) fn into_trouble(self) -> Trouble {
        match self {
            Self::Unsent(trouble) | Self::Closed(trouble) | Self::Other(trouble) => trouble,
        }
    }
}

/// Maps an error before the head of the answer.
pub(super) fn of_sending<B>(mut failed: TrySendError<B>) -> Fault {
    let was_sent = failed.take_message().is_none();
    let err = failed.into_error();
    let words = words_of(&err);
    if !was_sent || is_unprocessed(&err) {
        Fault::Unsent(Trouble::Connect(words))
    } else if err.is_parse() {
        Fault::Other(Trouble::NotConsul(format!("not HTTP: {words}")))
    } else if err.is_incomplete_message() {
        Fault::Closed(Trouble::Broken("closed without an answer".into()))
    } else {
        Fault::Closed(Trouble::Broken(words))
    }
}

/// Maps an error within the body.
pub(super) fn of_receiving(err: &hyper::Error) -> Fault {
    Fault::Other(if err.is_parse() {
        Trouble::NotConsul(format!("not HTTP: {}", words_of(err)))
    } else {
        Trouble::Broken(format!("closed within the body: {}", words_of(err)))
    })
}

/// Maps an error of the HTTP handshake.
pub(super) fn of_handshake(err: &hyper::Error) -> Trouble {
    Trouble::Connect(words_of(err))
}

/// Whether HTTP/2 reports that the request was not processed: the server refused its
/// stream, or its stream is after the last one named in a GOAWAY frame.
#[cfg(feature = "tls")]
fn is_unprocessed(err: &hyper::Error) -> bool {
    let Some(err) = err.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let is_reason = |reason| err.reason() == Some(reason);
    (err.is_reset() && is_reason(h2::Reason::REFUSED_STREAM))
        || (err.is_go_away() && err.is_remote() && is_reason(h2::Reason::NO_ERROR))
}

/// HTTP/1.1 does not report it.
#[cfg(not(feature = "tls"))]
fn is_unprocessed(_err: &hyper::Error) -> bool {
    false
}

/// Maps an error of a new connection. An agent at its limit accepts a connection and closes
/// it silently.
pub(super) fn of_connecting(err: &io::Error) -> Trouble {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match err.kind() {
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
            Trouble::Refused(err.to_string())
        }
        _ => Trouble::Connect(err.to_string()),
    }
}

fn words_of(err: &hyper::Error) -> String {
    match err.source() {
        Some(source) => format!("{err}: {source}"),
        None => err.to_string(),
    }
}
