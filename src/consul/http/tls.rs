//! Encrypts the connections.

use std::rc::Rc;

use tokio::net::TcpStream;

use super::{
    config::HttpConfig,
    line::{Line, Route},
};
use crate::consul::fact::Trouble;

#[cfg(feature = "tls")]
mod files;

#[cfg(feature = "tls")]
use {
    super::trouble,
    files::{Files, with_http_2},
    rustls::{ClientConfig, pki_types::ServerName},
    std::sync::Arc,
    tokio_rustls::TlsConnector,
};

/// How the connections are encrypted, if they are.
pub(super) struct Tls {
    #[cfg(feature = "tls")]
    over: Option<(Source, ServerName<'static>)>,
}

#[cfg(feature = "tls")]
enum Source {
    /// The caller's configuration.
    Ready(Arc<ClientConfig>),
    Files(Box<Files>),
}

impl Tls {
    /// # Errors
    /// What is wrong with the configuration.
    #[cfg(feature = "tls")]
    pub(super) fn of(config: &HttpConfig) -> Result<Self, String> {
        if !config.address.is_https() {
            return Ok(Self { over: None });
        }
        let source = match &config.ready_tls {
            Some(ready) => Source::Ready(with_http_2(Arc::clone(ready))),
            None => Source::Files(Box::new(Files::load(config.tls.clone())?)),
        };
        let named = config.tls.server_name.as_deref();
        let host = named.unwrap_or(config.address.host()).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| match named {
            Some(_) => "tls.server_name is a name that no certificate can carry".to_owned(),
            None => "address has a host that no certificate can name".to_owned(),
        })?;
        Ok(Self { over: Some((source, name)) })
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn of(config: &HttpConfig) -> Result<Self, String> {
        if config.address.is_https() {
            return Err("address begins with https:// and needs this crate's feature `tls`".into());
        }
        Ok(Self {})
    }

    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        route: Rc<Route>,
    ) -> Result<Line, Trouble> {
        #[cfg(feature = "tls")]
        if let Some((source, name)) = &self.over {
            let config = match source {
                Source::Ready(config) => Arc::clone(config),
                Source::Files(files) => files.current().await,
            };
            let stream = TlsConnector::from(config).connect(name.clone(), stream).await;
            let stream = stream.map_err(|err| trouble::of_connecting(&err))?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            return if is_http2 {
                Line::http2(stream, route).await
            } else {
                Line::http1(stream, route).await
            };
        }
        Line::http1(stream, route).await
    }
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests;
