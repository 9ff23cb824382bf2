use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn refused(config: &Config) -> String {
    config.check().expect_err("accepted").to_string()
}

#[test]
fn the_presets_keep_the_times_that_the_table_gives() {
    for (timing, failover, rides_out) in
        [(Timing::default(), 45, 10), (Timing::patient(), 90, 22), (Timing::fast_failover(), 21, 6)]
    {
        timing.check().unwrap();
        assert_eq!(timing.failover().as_secs(), failover);
        assert_eq!(timing.rides_out().as_secs(), rides_out, "{timing}");
    }
}

#[test]
fn a_timing_is_described_in_times_that_people_read() {
    let text = Timing::default().to_string();
    assert_eq!(text, "TTL 15s, lock-delay 15s: fail-over within 45s, rides out 10.2s");
}

#[test]
fn a_timing_that_start_would_refuse_still_has_times() {
    let endless = Timing::default().with_session_ttl(Duration::MAX).with_lock_delay(Duration::MAX);
    assert_eq!(endless.failover(), Duration::MAX);
    assert!(endless.lease() <= Duration::from_secs(60));
    assert!(endless.to_string().starts_with("TTL "));
    for drift in [f64::NAN, f64::INFINITY, -1.0, f64::NEG_INFINITY] {
        let timing = Timing::default().with_clock_drift(drift);
        assert!(timing.check().is_err(), "{drift}");
        assert!(timing.lease() < timing.session_ttl, "{drift}");
        assert!(timing.rides_out() < timing.lease(), "{drift}");
    }
}

#[test]
fn a_secret_in_the_place_of_its_files_path_is_refused_and_never_shown() {
    let secrets = [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIhush\n-----END PRIVATE KEY-----\n",
        "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a01",
        " 5F1C6B0E-8D0B-4C68-9D35-0D8F6F0F6A01\n",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJodXNoIn0.c2lnbmF0dXJl",
    ];
    for secret in secrets {
        let tls = TlsSettings::default;
        let with = |tls| Config { tls, ..Config::default() };
        let login = Some(Login::new("jwt", secret));
        for (field, config) in [
            ("tls.ca_file", with(tls().with_ca_file(secret))),
            ("tls.ca_path", with(tls().with_ca_path(secret))),
            ("tls.client_cert", with(tls().with_client_cert(secret, "/key.pem"))),
            ("tls.client_key", with(tls().with_client_cert("/cert.pem", secret))),
            ("token_file", Config { token_file: Some(secret.into()), ..Config::default() }),
            ("login.bearer_token_file", Config { login, ..Config::default() }),
        ] {
            let said = refused(&config);
            assert_eq!(said, format!("{field} seems to hold the content itself; give its path"));
            let shown = format!("{config:?}");
            assert!(shown.contains("(secret)") && !shown.contains(secret.trim()), "{shown}");
        }
    }
    for path in ["/etc/consul/token", "eyJ", "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a0", "a.b.c"] {
        let config = Config { token_file: Some(path.into()), ..Config::default() };
        config.check().unwrap();
        assert!(format!("{config:?}").contains(path));
    }
}

#[test]
fn the_lease_is_shorter_than_the_ttl_and_the_lock_delay() {
    let long_delay = Timing::default().with_lock_delay(Duration::from_secs(60));
    assert!(long_delay.lease() < long_delay.session_ttl);
    let short_delay = Timing::default().with_lock_delay(Duration::from_secs(5));
    assert!(short_delay.lease() < Duration::from_secs(5));
    let fast = Timing::fast_failover();
    assert!(fast.lease() > Duration::from_secs(9));
    assert!(fast.lease_under(Duration::from_secs(4)) < Duration::from_secs(4));
}

#[test]
fn a_setting_out_of_range_is_refused_by_name_with_its_range() {
    let mut config = Config::default();
    config.timing.session_ttl = Duration::from_secs(1);
    assert_eq!(refused(&config), "timing.session_ttl is 1s; it must be 10s to 24h");

    let mut config = Config::default();
    config.timing.lock_delay = Duration::from_secs(1);
    assert!(refused(&config).contains("timing.lock_delay is 1s; it must be 2s to 60s"));

    let mut config = Config::default();
    config.timing.clock_drift = f64::NAN;
    assert!(refused(&config).contains("timing.clock_drift is NaN"));

    let mut config = Config::default();
    config.limits.connections = Some(500);
    assert_eq!(refused(&config), "limits.connections is 500; it must be 12 to 190");

    let limits = Limits { connections: Some(12), ..Limits::default() };
    limits.check().unwrap();
    assert_eq!((limits.watches(false), Limits::default().watches(false)), (2, 6));
    assert_eq!(Limits::default().watches(true), 38);

    let half = Some(Duration::from_millis(500));
    let config = Config { warn_after: half, ..Config::default() };
    assert_eq!(refused(&config), "warn_after is 500ms; it must be at least 1 s");

    let config = Config { era: 128, ..Config::default() };
    assert_eq!(refused(&config), "era is 128; it must be 0 to 127");
    Config { era: 127, ..Config::default() }.check().unwrap();

    let config = Config { prefix: Some("a//b".into()), ..Config::default() };
    assert!(refused(&config).contains("prefix contains '//'"));
}

#[test]
fn a_session_that_checks_can_end_needs_the_lock_delay_in_its_lease() {
    let checks = || vec!["serfHealth".to_owned()];
    for (node_checks, service_checks) in [(checks(), vec![]), (vec![], checks())] {
        let mut config = Config { node_checks, service_checks, ..Config::default() };
        config.check().unwrap();
        config.timing = Timing::fast_failover();
        assert!(refused(&config).contains("timing.fast_failover"));
    }
}

#[test]
fn reads_durations_as_text_and_refuses_unknown_fields() {
    let json = r#"{"timing":{"session_ttl":"1m 30s"},"retention":"keep"}"#;
    let config: Config = serde_json::from_str(json).unwrap();
    assert_eq!(config.timing.session_ttl, Duration::from_secs(90));
    assert_eq!(config.retention, Retention::Keep);
    assert!(serde_json::from_str::<Config>(r#"{"adress":"x"}"#).is_err());
}

#[test]
fn a_bad_token_is_reported_as_a_token_and_a_line_break_at_its_end_is_none_of_it() {
    let with = |token: &str| Config { token: Some(token.into()), ..Config::default() };
    for token in ["8f2c", "8f2c\n", " 8f2c\r\n"] {
        assert_eq!(with(token).token, Some("8f2c".into()));
        with(token).check().unwrap();
    }
    for token in ["hu sh", "hu\nsh", "hush\u{e4}"] {
        let error = refused(&with(token));
        assert!(error.starts_with("token is ") && !error.contains("hu"), "{error}");
    }
}

#[test]
fn a_mistyped_address_shows_no_secret() {
    for address in [
        "http://me:hush@consul:8500",
        "me:hush@consul:8500",
        "http://consul:8500/?token=hush",
        "consul:8500?token=hush",
        "https://consul:8501/hush//hush",
        "http://consul:8500#hush",
    ] {
        let config = Config { address: address.into(), ..Config::default() };
        let shown = format!("{config:?}");
        assert!(!shown.contains("hush") && shown.contains("consul:850"), "{shown}");
        let why = crate::consul::http::Address::parse(address).unwrap_err();
        assert!(!why.contains("hush"), "{why}");
        let builder = crate::Dsync::builder("s").address(address);
        assert!(!format!("{builder:?}").contains("hush"));
        assert!(!builder.start().unwrap_err().to_string().contains("hush"));
    }
    for address in ["me:hush", "http://me:hush", "https://me:hush/consul"] {
        let config = Config { address: address.into(), ..Config::default() };
        let why = crate::consul::http::Address::parse(address).unwrap_err();
        assert!(!format!("{config:?} {why}").contains("hush"), "{config:?} {why}");
    }
    for address in ["http://[::1]:8500", "[::1]", "consul:8500"] {
        let config = Config { address: address.into(), ..Config::default() };
        assert!(format!("{config:?}").contains(&format!("{address:?}")), "{config:?}");
    }
    let config = Config { address: "http://consul:8500/".into(), ..Config::default() };
    assert!(format!("{config:?}").contains("\"http://consul:8500\""));
}

#[test]
fn the_token_is_neither_printed_nor_written_out() {
    let config = Config { token: Some(Secret::new("hush-hush".to_owned())), ..Config::default() };
    assert!(!format!("{config:?}").contains("hush"));
    assert!(!serde_json::to_string(&config).unwrap().contains("hush"));
}

/// A text that has a secret in it, and what a mistyped address may have around it.
fn with_a_secret() -> impl Strategy<Value = String> {
    let around = "[a-z0-9:/?#@=&. %]{0,6}";
    (around, around).prop_map(|(before, after)| format!("{before}s3cr3t{after}"))
}

proptest! {
    #[test]
    fn neither_the_text_of_a_configuration_nor_its_fault_depends_on_its_secrets(
        token in ".{0,40}", http_auth in ".{0,40}", address in ".{0,40}",
    ) {
        let shown = |token: &str, http_auth: &str| {
            let config = Config {
                address: address.clone(),
                token: Some(token.into()),
                http_auth: Some(http_auth.into()),
                ..Config::default()
            };
            (format!("{config:?}"), config.check().map_err(|fault| fault.to_string()))
        };
        let (like_token, like_auth) = (Secret::from(&*token).like(), Secret::from(&*http_auth).like());
        prop_assert_eq!(
            shown(&token, &http_auth),
            shown(like_token.expose(), like_auth.expose())
        );
    }

    #[test]
    fn an_address_that_holds_a_secret_is_shown_without_it(secret in with_a_secret()) {
        for address in [
            format!("https://user:{secret}@host:8500/p"),
            format!("user:{secret}@host:8500"),
            format!("http:/user:{secret}@host"),
            format!("https://host/?token={secret}"),
            format!("host:8500/a/b#{secret}"),
            format!("https://gateway/{secret}"),
        ] {
            let config = Config { address: address.clone(), ..Config::default() };
            let shown = format!("{config:?}");
            prop_assert!(!shown.contains("s3cr3t"), "{address}: {shown}");
            let fault = crate::consul::http::Address::parse(&address).err().unwrap_or_default();
            prop_assert!(!fault.contains("s3cr3t"), "{address}: {fault}");
        }
    }
}
