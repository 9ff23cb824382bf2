//! What awc's errors mean: its types are not `Send` and go no further than here.

use awc::error::{ConnectError, PayloadError, SendRequestError};

use crate::consul::fact::Trouble;

/// Trouble before the head of the answer was there.
///
/// awc says `Connect(Disconnected)` when a connection, fresh or pooled, closes
/// before it answers: by then the request may have been read.
pub(super) fn of_sending(err: SendRequestError) -> Trouble {
    match err {
        SendRequestError::Connect(ConnectError::Disconnected) => {
            Trouble::Broken("closed without an answer".into())
        }
        SendRequestError::Connect(err) => Trouble::Connect(err.to_string()),
        SendRequestError::Url(err) => Trouble::Connect(err.to_string()),
        SendRequestError::Response(err) => {
            // awc does not export the type, so its words must do.
            let words = err.to_string();
            if words.starts_with("I/O error") || words == "message is incomplete" {
                Trouble::Broken(words)
            } else {
                Trouble::NotConsul(format!("not HTTP: {words}"))
            }
        }
        err => Trouble::Broken(err.to_string()),
    }
}

/// Trouble within the body.
pub(super) fn of_receiving(err: PayloadError) -> Trouble {
    match err {
        PayloadError::Overflow => Trouble::TooLong,
        PayloadError::UnknownLength => Trouble::NotConsul("a body of unreadable length".into()),
        PayloadError::EncodingCorrupted => Trouble::NotConsul("a body of broken encoding".into()),
        err => Trouble::Broken(err.to_string()),
    }
}
