//! The log of a process.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_dsync::{Acquire, Campaign, Dsync, Release, TryAcquire, embedded::Embedded};
use tracing::{Instrument as _, Level, field};
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
async fn a_leader_that_is_another_program_or_build_is_logged() {
    tokio::time::pause();
    let log = Log::default();
    let _guard = log.of(Level::INFO);
    for (other, build, told) in [
        ("shop", "7", None),
        ("shop", "8", Some("the leader is another build")),
        ("billing", "7", Some("the leader is another program")),
    ] {
        let consul = Embedded::new();
        let start = |service: &str, build: &str| {
            let builder = Dsync::builder(service).embedded(&consul).on_current_arbiter();
            builder.build(build).start().unwrap()
        };
        let (one, two) = (start("shop", "7"), start(other, build));
        let leads = two.send(Campaign::on(key("k"))).await.unwrap();
        leads.elected().await;
        log.take();
        let _follows = one.send(Campaign::on(key("k"))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let logged = log.take();
        let lines: Vec<_> = logged.lines().filter(|line| line.contains("the leader is")).collect();
        assert_eq!(lines.len(), usize::from(told.is_some()), "{logged}");
        assert!(told.is_none_or(|told| lines[0].contains(told)), "{logged}");
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

#[actix::test]
async fn a_wait_is_a_span_within_the_callers_own() {
    tokio::time::pause();
    let log = Log::default();
    let _guard = log.of(Level::DEBUG);
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
    let held = acquire(&dsync, "k").await;
    let waits = |request: u64, limit: u64| {
        let dsync = other.clone();
        let asks = async move {
            dsync.send(Acquire::new(key("k")).within(Duration::from_secs(limit))).await
        };
        asks.instrument(tracing::info_span!("request", request))
    };
    let refused = waits(7, 3).await;
    assert!(refused.is_err());
    let waiting = waits(8, 60);
    let (lease, ()) = futures::future::join(waiting, async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(held);
    })
    .await;
    let tries = async { other.send(TryAcquire::new(key("k"))).await.map(drop) };
    tries.instrument(tracing::info_span!("request", request = 9)).await.unwrap_err();
    let lease = lease.unwrap();
    let told = log.take();
    for (request, end) in [(7, "error="), (8, &*format!("token={}", lease.token())), (9, "error=")]
    {
        let span = format!("request{{request={request}}}:wait for lock{{key=k");
        let is_its = |line: &&str| line.contains(&span) && line.contains("close");
        let line = told.lines().find(is_its).unwrap_or_else(|| panic!("{span}:\n{told}"));
        assert!(line.contains(end), "{line}");
    }
}

#[actix::test]
async fn the_callers_own_span_gets_no_field_where_waits_are_not_logged() {
    tokio::time::pause();
    let log = Log::default();
    let _guard = log.of(Level::INFO);
    let consul = Embedded::new();
    let (dsync, other) = (runtime("one", &consul), runtime("other", &consul));
    let held = acquire(&dsync, "k").await;
    let request = || tracing::info_span!("request", error = field::Empty, token = field::Empty);
    let granted = async { other.send(Acquire::new(key("free"))).await };
    drop(granted.instrument(request()).await.unwrap());
    let refused = async { other.send(TryAcquire::new(key("k"))).await };
    refused.instrument(request()).await.unwrap_err();
    let told = log.take();
    assert!(told.contains("request: ") && !told.contains("request{"), "{told}");
    drop(held);
}

#[actix::test]
async fn a_circle_and_a_long_hold_are_logged_once() {
    tokio::time::pause();
    let log = Log::default();
    let consul = Embedded::new();
    let builder = Dsync::builder("one").embedded(&consul).on_current_arbiter();
    let dsync = builder.warn_after(Duration::from_secs(5)).start().unwrap();
    let (a, b) = (acquire(&dsync, "a").await, acquire(&dsync, "b").await);
    let _guard = log.of(Level::WARN);
    let wants = |name: &str| Acquire::new(key(name));
    let waiting = (dsync.send(wants("b").holding(&a)), dsync.send(wants("a").holding(&b)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let told = log.take();
    for (words, times) in [("wait for each other", 2), ("held for 5s", 2), ("has waited for 5s", 2)]
    {
        assert_eq!(told.matches(words).count(), times, "{words}: {told}");
    }
    drop(waiting);
}
