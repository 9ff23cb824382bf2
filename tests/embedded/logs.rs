//! The log of a process.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_dsync::{Acquire, Release, embedded::Embedded};
use tracing::Level;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

use crate::{acquire, key, runtime};

/// Everything that is logged, as text.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes the text logged since the last call.
    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    /// Captures this thread's log while the guard lives.
    pub(crate) fn of(&self, level: Level) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(false)
            .without_time()
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[actix::test]
async fn a_healthy_process_logs_nothing_after_its_start_whether_idle_or_busy() {
    tokio::time::pause();
    let log = Log::default();
    let _guard = log.of(Level::INFO);
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
    dsync.ready().await.unwrap();
    other.ready().await.unwrap();
    let started = log.take();
    assert_eq!(started.lines().count(), 2, "{started}");
    assert!(started.contains("session opened"), "{started}");

    let held = acquire(&dsync, "held").await;
    let waiting = other.send(Acquire::new(key("held")));
    for _ in 0..100 {
        drop(acquire(&dsync, "now and then").await);
        tokio::time::sleep(Duration::from_secs(36)).await;
    }
    drop(waiting);
    let _ = dsync.send(Release(held)).await.unwrap();
    dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(log.take(), "");
}

#[actix::test]
async fn spans_name_the_key_the_session_and_the_token() {
    tokio::time::pause();
    let log = Log::default();
    let _guard = log.of(Level::TRACE);
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let lease = acquire(&dsync, "k").await;
    let (token, session) = (lease.token(), consul.entries()[0].session.clone().unwrap());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let _ = dsync.send(Release(lease)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = log.take();
    let closed = |span: &str| {
        let ended = |line: &&str| line.contains(span) && line.contains("close");
        told.lines().find(ended).unwrap_or_else(|| panic!("no {span}:\n{told}"))
    };
    let (key, token) = ("key=k".to_owned(), format!("token={token}"));
    let session = format!("session={session}");
    for (span, fields) in [
        ("acquire{", &[&key, &session, &token][..]),
        ("hold{", &[&key, &session, &token]),
        ("release{", &[&key, &session]),
        ("renew{", &[&session]),
    ] {
        let line = closed(span);
        for field in fields {
            assert!(line.contains(field.as_str()), "{field}: {line}");
        }
    }
}
