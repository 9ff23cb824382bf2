//! What reads hostile input.

use std::time::Duration;

use crate::{
    Config, FencingToken, Key, Timing,
    clock::Moment,
    config::Secret,
    consul::{
        ask::tests::{
            hostile::{KEY, verdicts},
            names::check_that_no_word_decides,
        },
        http::{Address, tests::hostile::answer_to},
        wire::{Method, WireReply, WireRequest},
    },
    embedded::{
        api::{Api, Response},
        engine::Settings,
    },
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// The parsers of Consul's replies. The first line is the status and the index.
    Replies,
    /// The configuration and the values of the API, as JSON.
    Config,
    /// The variables of the environment, one a line.
    Environment,
    Address,
    /// The embedded agent's API. The first line is the method and the target.
    Requests,
    /// The bytes of a connection.
    Http1,
    Http2,
}

impl Target {
    pub(super) const ALL: [Self; 7] = [
        Self::Replies,
        Self::Config,
        Self::Environment,
        Self::Address,
        Self::Requests,
        Self::Http1,
        Self::Http2,
    ];

    /// The name of its folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Replies => "replies",
            Self::Config => "config",
            Self::Environment => "environment",
            Self::Address => "address",
            Self::Requests => "requests",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }

    /// How many inputs it gets in a round: fewer if each takes longer.
    pub(super) fn share(self) -> u64 {
        match self {
            Self::Http1 | Self::Http2 => 10,
            _ => 100,
        }
    }

    pub(super) fn run(self, input: &[u8]) {
        match self {
            Self::Replies => replies(input),
            Self::Config => config(input),
            Self::Environment => environment(input),
            Self::Address => address(&String::from_utf8_lossy(input)),
            Self::Requests => requests(input),
            Self::Http1 => http(input, false),
            Self::Http2 => http(input, true),
        }
    }
}

/// The first line, and the rest.
fn parts(input: &[u8]) -> (String, &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, rest) = input.split_at(end);
    (String::from_utf8_lossy(line).into_owned(), rest.get(1..).unwrap_or_default())
}

fn replies(input: &[u8]) {
    let (line, body) = parts(input);
    let (status, index) = line.split_once(' ').unwrap_or((&line, ""));
    let status = status.parse().unwrap_or(200);
    let reply = WireReply { status, index: index.parse().ok(), body: body.to_vec() };
    verdicts(&reply);
    check_that_no_word_decides(&reply, KEY, body.len());
}

fn config(input: &[u8]) {
    if let Ok(config) = serde_json::from_slice::<Config>(input) {
        use_config(config);
    }
    let _ = serde_json::from_slice::<Timing>(input);
    let text = String::from_utf8_lossy(input);
    let words = serde_json::from_slice::<Vec<serde_json::Value>>(input).unwrap_or_default();
    for value in words {
        let _ = serde_json::from_value::<FencingToken>(value.clone());
        let _ = serde_json::from_value::<Key>(value.clone());
    }
    let _ = text.parse::<FencingToken>();
    if let Ok(key) = Key::new(&*text) {
        assert!(!key.as_str().contains("//"));
    }
    let _ = Key::join(text.split('\n'));
}

fn use_config(config: Config) {
    address(&config.address);
    // A secret's text may also occur elsewhere, for instance as the host. So it must not matter
    // which text it is.
    let shown = |config: &Config| {
        (format!("{config:?}"), config.check().map_err(|fault| fault.to_string()))
    };
    let like = |secret: &Option<Secret>| secret.as_ref().map(Secret::like);
    let (token, http_auth) = (like(&config.token), like(&config.http_auth));
    let other = Config { token, http_auth, ..config.clone() };
    assert_eq!(shown(&config), shown(&other), "a secret is shown");
    if config.check().is_ok() {
        let timing = &config.timing;
        assert!(timing.lease() < timing.session_ttl);
        let _ = (timing.failover(), timing.rides_out(), timing.to_string());
    }
}

fn environment(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let pairs: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let read = |hides: bool| {
        Config::from_variables(|name| {
            // It would read any file of this machine.
            let is_file = name.ends_with("TOKEN_FILE");
            let pair = pairs.iter().find(|(known, _)| *known == name && !is_file);
            let value = pair.map(|(_, value)| *value)?;
            let is_secret = matches!(name, "CONSUL_HTTP_TOKEN" | "CONSUL_HTTP_AUTH");
            Some(match hides && is_secret {
                true => Secret::from(value).like().expose().into(),
                false => value.into(),
            })
        })
    };
    match read(false) {
        Ok(config) => use_config(config),
        Err(error) => {
            assert!(error.to_string().lines().count() == 1);
            let other = read(true).map_err(|other| other.to_string());
            assert_eq!(Err(error.to_string()), other.map(drop), "a secret is shown");
        }
    }
}

fn address(text: &str) {
    if let Err(why) = Address::parse(text) {
        assert!(why.chars().all(crate::escape::is_printable), "{why:?}");
    }
}

fn requests(input: &[u8]) {
    let mut api = Api::new(Settings::default());
    let mut now = Moment::default();
    // Several requests in turn, separated by empty lines.
    for request in String::from_utf8_lossy(input).split("\n\n").take(8) {
        let (line, body) = parts(request.as_bytes());
        let (method, target) = line.split_once(' ').unwrap_or(("GET", &line));
        let method = match method {
            "PUT" => Method::Put,
            "POST" => Method::Post,
            _ => Method::Get,
        };
        let request =
            WireRequest { method, target: target.to_owned(), body: body.to_vec(), blocks: false };
        match api.respond(now, &request) {
            Response::Now(reply) => assert!((100..600).contains(&reply.status)),
            Response::Parked(parked) => {
                let _ = api.recheck(now, &parked);
            }
        }
        now = now + Duration::from_secs(7);
    }
}

fn http(input: &[u8], is_http2: bool) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
    }
    let answer = answer_to(input.to_vec(), is_http2);
    let reply = RUNTIME.with(|runtime| tokio::task::LocalSet::new().block_on(runtime, answer));
    if let Ok(reply) = reply {
        assert!(reply.body.len() <= input.len());
    }
}
