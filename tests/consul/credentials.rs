//! Tokens that are replaced, and logins, while locks are held and waited for.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use actix_dsync::{
    Acquire, Dsync, Error, Release, TryAcquire,
    config::Login,
    events::{Filter, LockLost},
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};

use crate::certificates::Folder;
use crate::locks::{acquire, at, key, pending};
use crate::support::consul::Agent;
use crate::support::eventually;

const MANAGEMENT: &str = "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a01";
const KEYS: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let agent = Agent::builder().acl(MANAGEMENT).start();
        policy(&agent);
        agent
    })
}

/// Creates the policy `locks`, which allows all locks.
pub(crate) fn policy(agent: &Agent) {
    let rules = r#"key_prefix "" { policy = "write" } session_prefix "" { policy = "write" }"#;
    ask(agent, "PUT", "/v1/acl/policy", &json!({ "Name": "locks", "Rules": rules }));
}

pub(crate) fn ask(agent: &Agent, method: &str, path: &str, body: &Value) -> Value {
    let answer = agent.operator().ask(method, path, body.to_string().as_bytes());
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

pub(crate) fn text(json: &Value) -> String {
    json.as_str().expect("text").to_owned()
}

/// Creates a token; returns its secret and its id.
fn token() -> (String, String) {
    let token = ask(agent(), "PUT", "/v1/acl/token", &json!({ "Policies": [{ "Name": "locks" }] }));
    (text(&token["SecretID"]), text(&token["AccessorID"]))
}

fn delete_token(id: &str) {
    ask(agent(), "DELETE", &format!("/v1/acl/token/{id}"), &json!(null));
}

/// The ids of the tokens that logins with this method created.
pub(crate) fn logins(agent: &Agent, method: &str) -> Vec<String> {
    let tokens = ask(agent, "GET", "/v1/acl/tokens", &json!(null));
    let tokens = tokens.as_array().expect("a list").iter();
    tokens.filter(|t| t["AuthMethod"] == method).map(|t| text(&t["AccessorID"])).collect()
}

/// Holds and waits for [`KEYS`] keys each while `replace` runs twice, and checks that nothing
/// is lost and every waiting request is granted.
async fn nothing_is_lost(dsync: &Dsync, prefix: &str, replace: impl AsyncFn()) {
    let other = at(agent().url(), prefix).token(MANAGEMENT);
    let other = other.start().expect("valid settings");
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let all = async |dsync: &Dsync, name: &str| {
        let asked =
            (0..KEYS).map(|n| dsync.send(Acquire::new(key(&format!("{name}/{n}"))).within(LIMIT)));
        futures::future::try_join_all(asked).await.expect("all granted")
    };
    let held = all(dsync, "held").await;
    let awaited = all(&other, "awaited").await;
    let waiting = tokio::spawn({
        let dsync = dsync.clone();
        async move {
            let asked = (0..KEYS)
                .map(|n| dsync.send(Acquire::new(key(&format!("awaited/{n}"))).within(LIMIT)));
            futures::future::try_join_all(asked).await
        }
    });
    let refused = dsync.send(TryAcquire::new(key("awaited/0"))).await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
    replace().await;
    // Long enough for renewals, and for blocking reads to be repeated.
    tokio::time::sleep(Duration::from_secs(3)).await;
    replace().await;
    drop(acquire(dsync, "new").await);
    for lease in awaited {
        let _ = other.send(Release(lease)).await.expect("a release");
    }
    let granted = waiting.await.expect("no panic").expect("all granted");
    assert!(held.iter().chain(&granted).all(|lease| lease.is_valid()));
    assert_eq!(pending(&mut lost), []);
    other.shutdown(Duration::from_secs(10)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_file_that_is_replaced_loses_no_lock() {
    let folder = Folder::new();
    let (secret, id) = token();
    let file = folder.write("token", &format!("{secret}\n"));
    let dsync = at(agent().url(), "rotated").token_file(&file);
    let dsync = dsync.start().expect("valid settings");
    let id = std::sync::Mutex::new(id);
    nothing_is_lost(&dsync, "rotated", async || {
        let (secret, next) = token();
        // The harder order: for a moment, no token is valid.
        let former = std::mem::replace(&mut *id.lock().expect("no panic"), next);
        delete_token(&former);
        tokio::time::sleep(Duration::from_millis(300)).await;
        folder.write("token", &format!("{secret}\n"));
    })
    .await;
    dsync.shutdown(Duration::from_secs(10)).await.expect("an orderly end");
}

/// A bearer token, signed as ES256.
pub(crate) fn jwt(key: &KeyPair) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let now = now.as_secs();
    let claims = json!({
        "aud": "dsync", "sub": "orders", "iat": now, "nbf": now - 60, "exp": now + 600,
    });
    let part = |json: &Value| BASE64.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(&claims));
    let signature = key.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", BASE64.encode(fixed(&signature)))
}

/// The two numbers of an ECDSA signature in DER, as JWT has them: 32 bytes each.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        numbers.resize(numbers.len() + 32 - number.len(), 0);
        numbers.extend_from_slice(number);
        rest = after;
    }
    numbers
}

pub(crate) fn auth_method(agent: &Agent, name: &str) -> KeyPair {
    let key = KeyPair::generate().expect("a key");
    let method = json!({
        "Name": name,
        "Type": "jwt",
        "MaxTokenTTL": "5m",
        "Config": {
            "JWTValidationPubKeys": [key.public_key_pem()],
            "JWTSupportedAlgs": ["ES256"],
            "BoundAudiences": ["dsync"],
        },
    });
    ask(agent, "PUT", "/v1/acl/auth-method", &method);
    let role = json!({ "Name": name, "Policies": [{ "Name": "locks" }] });
    ask(agent, "PUT", "/v1/acl/role", &role);
    let rule = json!({ "AuthMethod": name, "BindType": "role", "BindName": name, "Selector": "" });
    ask(agent, "PUT", "/v1/acl/binding-rule", &rule);
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_renewed_loses_no_lock_and_ends_with_the_runtime() {
    let own = auth_method(agent(), "logged-in");
    let folder = Folder::new();
    let bearer = folder.write("bearer", &jwt(&own));
    let login = Login::new("logged-in", &bearer).with_meta("pod", "orders-1");
    let dsync = at(agent().url(), "login").login(login);
    let dsync = dsync.start().expect("valid settings");
    nothing_is_lost(&dsync, "login", async || {
        // It may still have to notice that its last token was deleted.
        let tokens = || Some(logins(agent(), "logged-in")).filter(|tokens| !tokens.is_empty());
        let tokens = tokio::task::block_in_place(|| eventually(LIMIT, tokens)).expect("a login");
        assert_eq!(tokens.len(), 1, "it logs in once");
        folder.write("bearer", &jwt(&own));
        tokens.iter().for_each(|id| delete_token(id));
    })
    .await;
    assert_eq!(logins(agent(), "logged-in").len(), 1);
    dsync.shutdown(Duration::from_secs(10)).await.expect("an orderly end");
    assert_eq!(logins(agent(), "logged-in"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_names_the_method_and_shows_no_secret() {
    let (_, stranger) = (auth_method(agent(), "strict"), KeyPair::generate().expect("a key"));
    let folder = Folder::new();
    let secret = jwt(&stranger);
    let bearer = folder.write("bearer", &secret);
    for (method, name) in [("strict", "'strict'"), ("none", "'none'")] {
        let login = Login::new(method, &bearer);
        let dsync = at(agent().url(), "refused").login(login).start().expect("valid settings");
        let ready = tokio::time::timeout(LIMIT, dsync.ready()).await.expect("in time");
        let error = ready.expect_err("no token").to_string();
        assert!(error.contains("login") && error.contains(name), "{error}");
        assert!(!error.contains(&secret), "{error}");
        eprintln!("{error}");
    }
}
