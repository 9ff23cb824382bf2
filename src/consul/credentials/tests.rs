//! Against a server whose tokens are deleted and expire.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::*;
use crate::{
    config::TlsSettings,
    consul::{
        ask::{Read, Scope},
        client::Consul,
        fact::{Seen, Trouble},
        http::{Address, HttpConfig},
    },
    key::Key,
};

/// A server that knows the tokens `t1` to `t<newest>`, from `t<oldest>` on. Each login gives
/// the next token, which lives for 1.5 s by what the server says.
struct Server {
    address: String,
    oldest: Arc<AtomicUsize>,
    logins: Arc<AtomicUsize>,
    logouts: Arc<AtomicUsize>,
    /// How long a login, and the reply to an unknown token, take, in milliseconds.
    pace: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let numbers = [1, 0, 0, 0].map(|n| Arc::new(AtomicUsize::new(n)));
        let counts = web::Data::new(numbers.clone());
        let [oldest, logins, logouts, pace] = numbers;
        type Counts = web::Data<[Arc<AtomicUsize>; 4]>;
        let answer = |request: HttpRequest, counts: Counts| async move {
            let [oldest, logins, logouts, pace] = &**counts;
            let token = request.headers().get("x-consul-token");
            let token = token.map(|token| token.to_str().unwrap().to_owned());
            let number = token.as_deref().and_then(|token| token[1..].parse::<usize>().ok());
            let pace = Duration::from_millis(pace.load(Ordering::SeqCst) as u64);
            let is_known = number.is_some_and(|n| n >= oldest.load(Ordering::SeqCst));
            match request.path() {
                "/v1/acl/login" => {
                    let n = logins.fetch_add(1, Ordering::SeqCst) + 1;
                    sleep(pace).await;
                    HttpResponse::Ok().json(serde_json::json!({
                        "SecretID": format!("t{n}"),
                        "CreateTime": "2020-01-01T00:00:00Z",
                        "ExpirationTime": "2020-01-01T00:00:01.5Z",
                    }))
                }
                "/v1/status/leader" => HttpResponse::Ok().body("\"a\""),
                "/v1/acl/token/self" if number.is_some() => HttpResponse::Ok().finish(),
                _ if !is_known => {
                    sleep(pace).await;
                    HttpResponse::Forbidden().body("ACL not found")
                }
                "/v1/acl/logout" => {
                    logouts.fetch_add(1, Ordering::SeqCst);
                    HttpResponse::Ok().finish()
                }
                _ => HttpResponse::NotFound().insert_header(("X-Consul-Index", "7")).finish(),
            }
        };
        let app = move || App::new().app_data(counts.clone()).default_service(web::to(answer));
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap();
        actix_rt::spawn(server.run());
        Self { address, oldest, logins, logouts, pace }
    }

    fn client(&self, source: TokenSource) -> Result<Consul, String> {
        let http = HttpConfig {
            address: Address::parse(&self.address).unwrap(),
            basic: None,
            query: String::new(),
            renewals: 1,
            calls: 4,
            watches: 1,
            tls: TlsSettings::default(),
            #[cfg(feature = "tls")]
            ready_tls: None,
        };
        Consul::over_http(&http, source, None, Scope::default())
    }
}

fn file(name: &str, text: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("dsync-{name}-{}", std::process::id()));
    std::fs::write(&file, text).unwrap();
    file
}

async fn read(consul: &Consul) -> Seen {
    read_within(consul, Duration::from_secs(6)).await
}

async fn read_within(consul: &Consul, limit: Duration) -> Seen {
    consul.ask(&Read::Key(Key::new("k").unwrap()), limit).await
}

const KNOWN: Seen = Seen::Missing { index: 7 };

#[actix::test]
async fn a_file_written_after_its_former_token_was_deleted_is_used_by_the_request_itself() {
    let server = Server::start().await;
    let path = file("rotated", "t1\n");
    let source = TokenSource::File { path: path.clone(), fallback: None };
    let consul = server.client(source).unwrap();
    assert_eq!(read(&consul).await, KNOWN);
    server.oldest.store(2, Ordering::SeqCst);
    let writes = async {
        sleep(Duration::from_millis(300)).await;
        std::fs::write(&path, "t2\n").unwrap();
    };
    let (seen, ()) = futures::future::join(read(&consul), writes).await;
    assert_eq!(seen, KNOWN);
    // What cannot be used leaves the last token in place.
    for bad in ["", "t\u{e4}"] {
        std::fs::write(&path, bad).unwrap();
        sleep(LOOK_PERIOD + LOOK_PERIOD / 4).await;
        assert_eq!(read(&consul).await, KNOWN, "{bad:?}");
    }
    std::fs::remove_file(&path).unwrap();
    sleep(LOOK_PERIOD + LOOK_PERIOD / 4).await;
    assert_eq!(read(&consul).await, KNOWN);
}

#[actix::test]
async fn without_another_token_the_reply_is_returned_in_time() {
    let server = Server::start().await;
    server.oldest.store(9, Ordering::SeqCst);
    let path = file("unknown", "t1");
    let consul = server.client(TokenSource::File { path: path.clone(), fallback: None }).unwrap();
    let asked_at = Instant::now();
    assert_eq!(read(&consul).await, Seen::Unknown(Trouble::UnknownToken));
    assert!(asked_at.elapsed() < Duration::from_secs(30));
    std::fs::remove_file(&path).unwrap();
    let source = TokenSource::File { path, fallback: Some("t1".into()) };
    let refused = server.client(source).unwrap_err();
    assert!(refused.starts_with("token_file '") && !refused.contains("t1"), "{refused}");
}

#[actix::test]
async fn a_request_without_time_for_another_answer_is_not_repeated_with_the_next_token() {
    let server = Server::start().await;
    server.oldest.store(9, Ordering::SeqCst);
    server.pace.store(1_000, Ordering::SeqCst);
    let path = file("late", "t1");
    let consul = server.client(TokenSource::File { path: path.clone(), fallback: None }).unwrap();
    let writes = async {
        sleep(Duration::from_millis(3_200)).await;
        std::fs::write(&path, "t2").unwrap();
    };
    let limit = Duration::from_secs(4);
    let (seen, ()) = futures::future::join(read_within(&consul, limit), writes).await;
    assert_eq!(seen, Seen::Unknown(Trouble::UnknownToken));
    std::fs::remove_file(&path).unwrap();
}

#[actix::test]
async fn a_login_is_repeated_before_its_token_expires_and_when_it_is_unknown() {
    let server = Server::start().await;
    let bearer = file("bearer", "b34r3r");
    let consul = server.client(TokenSource::Login(Login::new("jwt", &bearer))).unwrap();
    let together = (0..20).map(|_| read(&consul));
    let together = futures::future::join_all(together).await;
    assert!(together.iter().all(|seen| *seen == KNOWN), "{together:?}");
    assert_eq!(server.logins.load(Ordering::SeqCst), 1);

    let renewed = async {
        while server.logins.load(Ordering::SeqCst) < 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), renewed).await.unwrap();
    let newest = server.logins.load(Ordering::SeqCst);
    server.oldest.store(newest + 1, Ordering::SeqCst);
    assert_eq!(read(&consul).await, KNOWN);
    assert!(server.logins.load(Ordering::SeqCst) > newest);

    consul.log_out(Duration::from_secs(5)).await;
    assert_eq!(server.logouts.load(Ordering::SeqCst), 1);
    // A request that is still under way does not log in again.
    let logins = server.logins.load(Ordering::SeqCst);
    assert!(matches!(read(&consul).await, Seen::Unknown(Trouble::NoToken(_))));
    assert_eq!(server.logins.load(Ordering::SeqCst), logins);
    std::fs::remove_file(&bearer).unwrap();
}

#[actix::test]
async fn a_login_that_outlasts_the_requests_gives_their_successors_its_token() {
    let server = Server::start().await;
    server.pace.store(1_000, Ordering::SeqCst);
    let bearer = file("slow", "b34r3r");
    let consul = server.client(TokenSource::Login(Login::new("jwt", &bearer))).unwrap();
    let granted = async {
        let mut unserved = 0;
        while read_within(&consul, Duration::from_millis(200)).await != KNOWN {
            unserved += 1;
        }
        unserved
    };
    let unserved = timeout(Duration::from_secs(30), granted).await.unwrap();
    assert!(unserved > 1, "{unserved}");
    assert_eq!(server.logins.load(Ordering::SeqCst), 1);
    std::fs::remove_file(&bearer).unwrap();
}

#[actix::test]
async fn a_request_whose_first_token_comes_without_time_for_an_answer_is_not_sent() {
    let server = Server::start().await;
    server.pace.store(1_700, Ordering::SeqCst);
    let bearer = file("late-login", "b34r3r");
    let consul = server.client(TokenSource::Login(Login::new("jwt", &bearer))).unwrap();
    let seen = read_within(&consul, Duration::from_secs(2)).await;
    assert_eq!(seen, Seen::Unknown(Trouble::NoToken("none within 1.5s".into())));
    std::fs::remove_file(&bearer).unwrap();
}

#[actix::test]
async fn a_token_that_a_server_does_not_know_is_not_replaced_by_login_after_login() {
    let server = Server::start().await;
    server.oldest.store(usize::MAX, Ordering::SeqCst);
    let bearer = file("unknown-login", "b34r3r");
    let consul = server.client(TokenSource::Login(Login::new("jwt", &bearer))).unwrap();
    let asked_at = Instant::now();
    let seen = read_within(&consul, Duration::from_secs(3)).await;
    assert_eq!(seen, Seen::Unknown(Trouble::UnknownToken));
    let logins = server.logins.load(Ordering::SeqCst);
    let most = 1 + asked_at.elapsed().as_secs() as usize;
    assert!((2..=most).contains(&logins), "{logins} logins in {:?}", asked_at.elapsed());
    std::fs::remove_file(&bearer).unwrap();
}

#[actix::test]
async fn without_a_bearer_token_nothing_is_sent_and_the_error_names_its_file() {
    let server = Server::start().await;
    let login = Login::new("jwt", "/nonexistent/bearer");
    let consul = server.client(TokenSource::Login(login)).unwrap();
    let Seen::Unknown(trouble) = read(&consul).await else { panic!("it was answered") };
    let text = trouble.to_string();
    assert!(text.contains("login.bearer_token_file '/nonexistent/bearer'"), "{text}");
    assert_eq!(server.logins.load(Ordering::SeqCst), 0);
}

#[actix::test]
async fn a_token_that_no_header_carries_is_refused_at_once_and_not_shown() {
    let source = TokenSource::Fixed(Some("with\nnewline".into()));
    let why = source.first().err().unwrap();
    assert!(why.contains("character") && !why.contains("newline"), "{why}");
}

#[test]
fn a_token_file_of_the_environment_that_can_be_read_once_gives_its_token() {
    use std::{io::Write as _, os::fd::AsRawFd as _};

    // As a shell's `<(…)` does.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"s3cr3t\n").unwrap();
    drop(writer);
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    let variable = |name| (name == "CONSUL_HTTP_TOKEN_FILE").then(|| path.clone().into());
    let config = crate::config::Config::from_variables(variable).unwrap();
    let source = TokenSource::File { path: config.token_file.unwrap(), fallback: None };
    let token = source.first().unwrap().unwrap();
    assert_eq!(token.secret.expose(), "s3cr3t");
}
