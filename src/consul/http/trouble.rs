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
    /// TLS failed, for instance because the agent refuses our certificate. The agent may
    /// have processed the request if the connection was in use.
    Tls(String),
    Other(Trouble),
}

impl Fault {
    pub(super) fn into_trouble(self) -> Trouble {
        match self {
            Self::Unsent(trouble) | Self::Closed(trouble) | Self::Other(trouble) => trouble,
            Self::Tls(why) => Trouble::Broken(why),
        }
    }
}

/// Maps an error before the head of the answer.
pub(super) fn of_sending<B>(mut failed: TrySendError<B>) -> Fault {
    let was_sent = failed.take_message().is_none();
    let err = failed.into_error();
    let words = words_of(&err);
    if let Some(why) = tls_fault(&err) {
        return Fault::Tls(why);
    }
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
    if let Some(why) = tls_fault(err) {
        return Fault::Tls(why);
    }
    Fault::Other(if err.is_parse() {
        Trouble::NotConsul(format!("not HTTP: {}", words_of(err)))
    } else {
        Trouble::Broken(format!("closed within the body: {}", words_of(err)))
    })
}

/// Maps an error of the HTTP handshake.
pub(super) fn of_handshake(err: &hyper::Error) -> Trouble {
    Trouble::Connect(tls_fault(err).unwrap_or_else(|| words_of(err)))
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
    if let Some(why) = tls_words(err) {
        return Trouble::Connect(why);
    }
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

/// What failed in TLS, if TLS failed.
#[cfg(feature = "tls")]
fn tls_fault(err: &hyper::Error) -> Option<String> {
    let source = err.source()?;
    let over_http2 = source.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
    tls_words(over_http2.or_else(|| source.downcast_ref())?)
}

#[cfg(not(feature = "tls"))]
fn tls_fault(_err: &hyper::Error) -> Option<String> {
    None
}

#[cfg(not(feature = "tls"))]
fn tls_words(_err: &io::Error) -> Option<String> {
    None
}

/// Names the cause of a failure of TLS, and the setting that mends it.
#[cfg(feature = "tls")]
fn tls_words(err: &io::Error) -> Option<String> {
    // Of an error within HTTP/2, only the text is left.
    let text = err.to_string();
    let why = match (err.get_ref()?.downcast_ref(), text.strip_prefix(ALERT)) {
        (_, Some(alert)) => alert_words(alert),
        (Some(err), None) => certificate_words(err),
        (None, None) => return None,
    };
    Some(format!("TLS failed: {why}"))
}

/// The beginning of rustls's text for an alert that the agent sent.
#[cfg(feature = "tls")]
const ALERT: &str = "received fatal alert: ";

#[cfg(feature = "tls")]
fn alert_words(alert: &str) -> String {
    let why = match alert {
        "CertificateRequired" => "the agent requires a client certificate",
        "BadCertificate" => "the agent requires a client certificate that it trusts",
        "UnknownCA" => "the agent does not trust the CA of the client certificate",
        "CertificateExpired" => "the agent says that the client certificate has expired",
        _ => return format!("the agent sent the alert {alert}"),
    };
    format!("{why} (alert {alert}): check tls.client_cert and tls.client_key")
}

#[cfg(feature = "tls")]
fn certificate_words(err: &rustls::Error) -> String {
    use rustls::{CertificateError as Bad, Error};
    match err {
        // Two CAs of the same name differ in their signatures.
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "no trusted CA has signed the agent's certificate: name its CA in tls.ca_file".into()
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the agent's certificate has expired".into()
        }
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "the agent's certificate is not valid yet; check the clocks".into()
        }
        Error::InvalidCertificate(Bad::NotValidForName) => {
            "the agent's certificate is for another name: set tls.server_name to one of its names"
                .into()
        }
        Error::InvalidCertificate(Bad::NotValidForNameContext { expected, presented }) => format!(
            "the agent's certificate is not for the name {} but for {}: set tls.server_name to \
             one of its names",
            expected.to_str(),
            presented.join(", ")
        ),
        Error::InvalidMessage(_) => format!(
            "the agent does not speak TLS at this address ({err}): check the port and the scheme"
        ),
        other => other.to_string(),
    }
}
