//! Crosses every call with every fault of the network: the call ends in time, proves
//! nothing, and the next call succeeds.

use std::time::Duration;

use serde_json::json;

use crate::{
    consul::{
        ask::{
            Checks, CreateSession, DeleteFence, DestroySession, List, Lock, Locks, RaiseFence,
            Read, Record, Release, ReleaseHow, RenewSession, Scope, SessionInfo, Watch,
        },
        client::Consul,
        credentials::TokenSource,
        fact::{
            Created, Destroyed, Expect, Fence, Listed, Locked, Raised, Recorded, Released, Renewed,
            Seen, SessionId, SessionSeen,
        },
        http::tests::hostile::{Deed, Server, config},
    },
    key::Key,
};

const ID: &str = "ee474eed-262a-2872-71c3-42544dd66dce";
const RECORD: &str = ".dsync/every/k";
/// The limit of a call that meets a fault, and of the others.
const LIMIT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_millis(16);

#[derive(Clone, Copy, Debug)]
enum Call {
    Create,
    Renew,
    Info,
    Destroy,
    Lock,
    LockAll,
    Release,
    Read,
    Watch,
    Check,
    List,
    Raise,
    ReadFence,
    DeleteFence,
    Record,
    ReadRecord,
}

const CALLS: [Call; 16] = [
    Call::Create,
    Call::Renew,
    Call::Info,
    Call::Destroy,
    Call::Lock,
    Call::LockAll,
    Call::Release,
    Call::Read,
    Call::Watch,
    Call::Check,
    Call::List,
    Call::Raise,
    Call::ReadFence,
    Call::DeleteFence,
    Call::Record,
    Call::ReadRecord,
];

/// The conclusion from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Unknown,
    /// Unknown, but certainly not sent.
    Unsent,
    /// Gone, denied, refused or missing, which no fault can prove.
    Other,
}

impl Call {
    /// Consul's answer without a fault.
    fn answer(self) -> String {
        let entry = |key: &str| {
            json!({"Key": key, "Flags": 7, "Value": null, "Session": ID, "LockIndex": 1,
                   "CreateIndex": 9, "ModifyIndex": 9})
        };
        let fence = format!(".dsync/{ID}");
        let body = match self {
            Self::Create => json!({"ID": ID}),
            Self::Renew | Self::Info => json!([{
                "ID": ID, "Name": "n", "Node": "m", "LockDelay": 15_000_000_000_u64,
                "Behavior": "release", "TTL": "15s",
            }]),
            Self::Destroy => json!(true),
            Self::Lock => json!({"Results": [{"KV": entry("k")}], "Errors": null}),
            Self::LockAll => {
                json!({"Results": [{"KV": entry("k")}, {"KV": entry("l")}], "Errors": null})
            }
            Self::Release => json!({"Results": [{"KV": entry("k")}], "Errors": null}),
            Self::Read | Self::Watch | Self::Check | Self::List => json!([entry("k")]),
            Self::Raise => json!({"Results": [{"KV": entry(&fence)}], "Errors": null}),
            Self::ReadFence => json!([entry(&fence)]),
            Self::DeleteFence => json!({"Results": [], "Errors": null}),
            Self::Record => {
                let results = [json!({"KV": entry("k")}), json!({"KV": entry(RECORD)})];
                json!({"Results": results, "Errors": null})
            }
            Self::ReadRecord => json!([entry(RECORD)]),
        };
        body.to_string()
    }

    async fn put_to(self, consul: &Consul, limit: Duration) -> Verdict {
        let (id, key) = (SessionId::from(ID), Key::new("k").unwrap());
        let verdict = |good, unknown| match (good, unknown) {
            (true, _) => Verdict::Good,
            (_, true) => Verdict::Unknown,
            _ => Verdict::Other,
        };
        macro_rules! judge {
            ($answer:expr, $good:pat, $unknown:pat) => {{
                let answer = $answer;
                verdict(matches!(answer, $good), matches!(answer, $unknown))
            }};
        }
        match self {
            Self::Create => {
                let new = CreateSession {
                    name: "n".into(),
                    ttl: Duration::from_secs(15),
                    lock_delay: Duration::from_secs(15),
                    checks: Checks::default(),
                    patience: Duration::ZERO,
                };
                let answer = consul.ask(&new, limit).await;
                judge!(answer, Created::Session(_), Created::Unknown(_))
            }
            Self::Renew => judge!(
                consul.ask(&RenewSession { session: id }, limit).await,
                Renewed::Alive { .. },
                Renewed::Unknown(_)
            ),
            Self::Info => judge!(
                consul.ask(&SessionInfo { session: id }, limit).await,
                SessionSeen::Exists { .. },
                SessionSeen::Unknown(_)
            ),
            Self::Destroy => judge!(
                consul.ask(&DestroySession { session: id }, limit).await,
                Destroyed::Done,
                Destroyed::Unknown(_)
            ),
            Self::Lock => {
                let (fence, expect) = (Fence::Unusable, Expect::Missing);
                let ask = Lock { key, session: id, value: vec![], flags: 7, fence, expect };
                match consul.lock(&ask, limit).await {
                    Locked::Unsent(_) => Verdict::Unsent,
                    answer => judge!(answer, Locked::At(9), Locked::Unknown(_)),
                }
            }
            Self::LockAll => {
                let (fence, expect) = (Fence::Unusable, Expect::Missing);
                let other = Key::new("l").unwrap();
                let asks = [key, other].map(|key| {
                    let (session, value) = (id.clone(), vec![]);
                    Lock { key, session, value, flags: 7, fence, expect }
                });
                match consul.ask(&Locks(&asks.each_ref()), limit).await.as_slice() {
                    [Some(Locked::Unsent(_)), Some(Locked::Unsent(_))] => Verdict::Unsent,
                    answers => judge!(
                        answers,
                        [Some(Locked::At(9)), Some(Locked::At(9))],
                        [Some(Locked::Unknown(_)), Some(Locked::Unknown(_))]
                    ),
                }
            }
            Self::Release => {
                let ask = Release { key, session: id, index: 9, how: ReleaseHow::Delete };
                judge!(consul.ask(&ask, limit).await, Released::Done, Released::Unknown(_))
            }
            Self::Read => {
                judge!(
                    consul.ask(&Read::Key(key), limit).await,
                    Seen::Found { .. },
                    Seen::Unknown(_)
                )
            }
            Self::Watch => judge!(
                consul.ask(&Watch { key, after: Some(8), wait: WAIT }, limit).await,
                Seen::Found { .. },
                Seen::Unknown(_)
            ),
            Self::Check => {
                judge!(
                    consul.ask(&Watch { key, after: None, wait: WAIT }, limit).await,
                    Seen::Found { .. },
                    Seen::Unknown(_)
                )
            }
            Self::List => judge!(
                consul.ask(&List { prefix: "k".into(), after: Some(8), wait: WAIT }, limit).await,
                Listed::Found { .. },
                Listed::Unknown(_)
            ),
            Self::Raise => judge!(
                consul.ask(&RaiseFence { session: id, from: Fence::Unraised }, limit).await,
                Raised::At(9),
                Raised::Unknown(_)
            ),
            Self::ReadFence => {
                judge!(
                    consul.ask(&Read::Fence(id), limit).await,
                    Seen::Found { .. },
                    Seen::Unknown(_)
                )
            }
            Self::DeleteFence => judge!(
                consul.ask(&DeleteFence { session: id }, limit).await,
                Destroyed::Done,
                Destroyed::Unknown(_)
            ),
            Self::Record => {
                let ask = Record { key, session: id, after: Some(8), value: vec![1] };
                judge!(consul.ask(&ask, limit).await, Recorded::Done, Recorded::Unknown(_))
            }
            Self::ReadRecord => {
                judge!(
                    consul.ask(&Read::Record(key), limit).await,
                    Seen::Found { .. },
                    Seen::Unknown(_)
                )
            }
        }
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// A fault's name, its effect on the good answer, and the expected conclusion.
fn faults(good: &str) -> Vec<(&'static str, Deed, Verdict)> {
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let head = good.split("\r\n\r\n").next().unwrap_or_default().to_owned() + "\r\n\r\n";
    let body = &good[head.len()..];
    let index = "X-Consul-Index: 9\r\n";
    let longer = format!("HTTP/1.1 200 OK\r\n{index}Content-Length: 9999\r\n\r\n{body}");
    let shorter = format!(
        "HTTP/1.1 200 OK\r\n{index}Content-Length: {}\r\n\r\n{body}",
        body.len().saturating_sub(2)
    );
    let server = |text| Deed::Say(reply("500 Internal Server Error", "", text));
    vec![
        ("black hole", Deed::SayAndHang(String::new()), Verdict::Unknown),
        ("reset", Deed::Reset, Verdict::Unknown),
        ("closed without a word", Deed::SayAndClose(String::new()), Verdict::Unknown),
        ("head cut off", Deed::SayAndClose(half(&head)), Verdict::Unknown),
        ("silence within the head", Deed::SayAndHang(half(&head)), Verdict::Unknown),
        ("body cut off", Deed::SayAndClose(head.clone() + &half(body)), Verdict::Unknown),
        ("silence before the body", Deed::SayAndHang(head.clone()), Verdict::Unknown),
        ("silence within the body", Deed::SayAndHang(head + &half(body)), Verdict::Unknown),
        ("length too large", Deed::SayAndClose(longer), Verdict::Unknown),
        ("length too small", Deed::SayAndClose(shorter), Verdict::Unknown),
        ("too slow", Deed::Trickle(good.to_owned(), Duration::from_millis(80)), Verdict::Unknown),
        ("slow", Deed::Trickle(good.to_owned(), Duration::ZERO), Verdict::Good),
        ("garbage", Deed::SayAndClose("\u{1}\u{2}garbage\r\n\r\n".into()), Verdict::Unknown),
        ("a flood", Deed::Flood, Verdict::Unknown),
        ("HTML", Deed::Say(reply("200 OK", index, "<html>Welcome</html>")), Verdict::Unknown),
        ("nothing", Deed::Say(reply("200 OK", index, "")), Verdict::Unknown),
        ("null", Deed::Say(reply("200 OK", index, "null")), Verdict::Unknown),
        ("a proxy's 404", Deed::Say(reply("404 Not Found", "", "no such page")), Verdict::Unknown),
        ("429", Deed::Say(reply("429 Too Many Requests", "", "slow down")), Verdict::Unknown),
        ("502", Deed::Say(reply("502 Bad Gateway", "", "<html>")), Verdict::Unknown),
        (
            "a redirect",
            Deed::Say(reply("301 Moved Permanently", "Location: /v1/kv/other\r\n", "")),
            Verdict::Unknown,
        ),
        ("no leader", server("No cluster leader"), Verdict::Unknown),
        ("the leader gone", server("rpc error making call: EOF"), Verdict::Unknown),
        (
            "the leader unreachable",
            server("rpc error getting client: failed to get conn: connection refused"),
            Verdict::Unknown,
        ),
    ]
}

/// Whether a call succeeds over another connection after its own closed without an answer:
/// only a call that may be processed twice is sent again.
fn repaired(call: Call, name: &str) -> bool {
    use Call::{Info, Read, ReadFence, ReadRecord, Renew};
    matches!(name, "reset" | "closed without a word" | "head cut off")
        && matches!(call, Renew | Info | Read | ReadFence | ReadRecord)
}

fn over_http(address: &std::net::SocketAddr) -> Result<Consul, String> {
    let (token, scope) = (TokenSource::Fixed(Some("s3cr3t".into())), Scope::default());
    Consul::over_http(&config(&address.to_string()), token, None, scope)
}

async fn cross(call: Call, name: &str, deed: Deed, expected: Verdict) {
    let expected = if repaired(call, name) { Verdict::Good } else { expected };
    let good = Deed::Say(reply("200 OK", "X-Consul-Index: 9\r\n", &call.answer()));
    let server = Server::doing(vec![good.clone(), deed, good.clone(), good]).await;
    let consul = over_http(&server.address).unwrap();
    assert_eq!(call.put_to(&consul, LONG).await, Verdict::Good, "{call:?} before {name}");

    let limit = if expected == Verdict::Good { LONG } else { LIMIT };
    let verdict = tokio::time::timeout(LONG, call.put_to(&consul, limit)).await;
    assert_eq!(verdict, Ok(expected), "{call:?} with {name}");

    assert_eq!(call.put_to(&consul, LONG).await, Verdict::Good, "{call:?} after {name}");
    // Two connections for renewals and one for calls are always open; a watch has its own.
    // If one is silent, the others of its age are replaced too.
    let most = 2 * (3 + 1);
    assert!(server.connections() <= most, "{call:?} with {name}: {}", server.connections());
}

#[actix::test]
async fn every_call_meets_every_fault_and_concludes_nothing_from_it() {
    for call in CALLS {
        let good = reply("200 OK", "X-Consul-Index: 9\r\n", &call.answer());
        let faults = faults(&good).into_iter();
        // Each case has its own server and connections.
        futures::future::join_all(
            faults.map(|(name, deed, expected)| cross(call, name, deed, expected)),
        )
        .await;
    }
}

#[actix::test]
async fn where_nobody_listens_nothing_is_concluded() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let consul = over_http(&free).unwrap();
    for call in CALLS {
        let expected = match call {
            Call::Lock | Call::LockAll => Verdict::Unsent,
            _ => Verdict::Unknown,
        };
        assert_eq!(call.put_to(&consul, LIMIT).await, expected, "{call:?}");
    }
}
