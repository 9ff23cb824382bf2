use super::*;
use crate::config::TlsSettings;

fn read(variables: &[(&'static str, &str)]) -> Result<Config, String> {
    Config::from_variables(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    })
    .map_err(|error| error.to_string())
}

#[test]
fn an_address_of_an_agent_a_gateway_or_a_socket_is_read_as_consuls_tools_read_it() {
    for (address, ssl, url) in [
        ("", "", "http://127.0.0.1:8500"),
        ("", "true", "https://127.0.0.1:8500"),
        ("consul:8501", "", "http://consul:8501"),
        ("consul:8501", "true", "https://consul:8501"),
        ("consul:8501", "0", "http://consul:8501"),
        ("http://consul:8501", "1", "https://consul:8501"),
        ("https://consul:8501", "false", "https://consul:8501"),
        ("consul", "", "http://consul"),
        ("consul", "T", "https://consul"),
        (":8500", "", "http://localhost:8500"),
        (" consul:8500\n", "", "http://consul:8500"),
        ("https://gateway/consul", "", "https://gateway/consul"),
        ("http://gateway:80/consul/", "1", "https://gateway:80/consul/"),
        ("unix:///run/consul.sock", "", "unix:///run/consul.sock"),
        ("unix://consul.sock", "false", "unix://consul.sock"),
    ] {
        let config = read(&[("CONSUL_HTTP_ADDR", address), ("CONSUL_HTTP_SSL", ssl)]).unwrap();
        assert_eq!(config.address, url, "{address:?}, {ssl:?}");
        crate::consul::http::Address::parse(&config.address).unwrap();
    }
}

#[test]
fn a_variable_that_is_set_and_not_honoured_is_refused_by_name() {
    let not_for_plain = [
        ("CONSUL_CACERT", "/ca.pem"),
        ("CONSUL_CAPATH", "/ca"),
        ("CONSUL_CLIENT_CERT", "/cert.pem"),
        ("CONSUL_CLIENT_KEY", "/key.pem"),
        ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
        ("CONSUL_HTTP_SSL_VERIFY", "false"),
    ];
    let unsupported = UNSUPPORTED.map(|(name, _)| (name, "x"));
    for (name, value) in not_for_plain.into_iter().chain(unsupported).chain([
        ("CONSUL_HTTP_SSL_VERIFY", "no"),
        ("CONSUL_HTTP_SSL", "yes"),
        ("CONSUL_HTTP_TOKEN_FILE", "/nonexistent/token"),
        ("CONSUL_LOGIN_AUTH_METHOD", "kubernetes"),
        ("CONSUL_LOGIN_BEARER_TOKEN_FILE", "/token"),
        ("CONSUL_LOGIN_META", "pod=a"),
    ]) {
        let refused = read(&[(name, value)]).unwrap_err();
        assert!(refused.starts_with(&format!("environment variable {name}: ")), "{refused}");
        assert_eq!(read(&[(name, "")]), Ok(Config::default()));
    }
    for (name, value) in not_for_plain {
        read(&[("CONSUL_HTTP_ADDR", "https://consul"), (name, value)]).unwrap();
        let over = [("CONSUL_HTTP_ADDR", "unix:///consul.sock"), (name, value)];
        assert!(read(&over).unwrap_err().contains(name));
    }
    let refused = read(&[("CONSUL_HTTP_ADDR", "unix:///consul.sock"), ("CONSUL_HTTP_SSL", "1")]);
    assert!(refused.unwrap_err().contains("CONSUL_HTTP_SSL"));
    read(&[("CONSUL_HTTP_SSL_VERIFY", "true")]).unwrap();
}

#[test]
fn an_era_that_is_no_number_of_its_range_is_refused() {
    for era in ["128", "256", "-1", "two"] {
        let error = read(&[("DSYNC_ERA", era)]).unwrap_err();
        let said = format!("environment variable DSYNC_ERA: is {era}; it must be 0 to 127");
        assert_eq!(error, said);
    }
}

#[test]
fn each_variable_sets_its_field() {
    let config = read(&[
        ("CONSUL_HTTP_SSL", "true"),
        ("CONSUL_HTTP_AUTH", "me:hush:hush"),
        ("CONSUL_CACERT", "/ca.pem"),
        ("CONSUL_CAPATH", "/ca"),
        ("CONSUL_CLIENT_CERT", "/cert.pem"),
        ("CONSUL_CLIENT_KEY", "/key.pem"),
        ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul:8501"),
        ("CONSUL_HTTP_SSL_VERIFY", "0"),
        ("CONSUL_NAMESPACE", "team"),
        ("CONSUL_PARTITION", "part"),
        ("CONSUL_DATACENTER", "dc1"),
        ("DSYNC_ERA", " 3\n"),
        ("CONSUL_LOGIN_AUTH_METHOD", "kubernetes"),
        ("CONSUL_LOGIN_BEARER_TOKEN_FILE", "/token"),
        ("CONSUL_LOGIN_META", "pod=ns/a, component=x"),
    ])
    .unwrap();
    let mut tls = TlsSettings::default()
        .with_ca_file("/ca.pem")
        .with_ca_path("/ca")
        .with_client_cert("/cert.pem", "/key.pem")
        .with_server_name("server.dc1.consul");
    (tls.verify, tls.required) = (false, true);
    let login =
        Login::new("kubernetes", "/token").with_meta("pod", "ns/a").with_meta("component", "x");
    let expected = Config {
        address: "https://127.0.0.1:8500".into(),
        http_auth: Some("me:hush:hush".into()),
        tls,
        namespace: Some("team".into()),
        partition: Some("part".into()),
        datacenter: Some("dc1".into()),
        login: Some(login),
        era: 3,
        ..Config::default()
    };
    assert_eq!(config, expected);
    config.check().unwrap();
    for (name, host) in [("a", "a"), ("a:1", "a"), ("[::1]:1", "[::1]"), ("::1", "::1")] {
        assert_eq!(without_port(name), host);
    }
}

#[test]
fn the_token_file_is_kept_beside_the_token_because_it_may_be_blank() {
    let file = std::env::temp_dir().join(format!("dsync-token-{}", std::process::id()));
    let path = file.to_str().unwrap();
    let both = [("CONSUL_HTTP_TOKEN_FILE", path), ("CONSUL_HTTP_TOKEN", "fixed")];
    std::fs::write(&file, "from-file\n").unwrap();
    let config = read(&both).unwrap();
    assert_eq!((config.token, config.token_file), (Some("fixed".into()), Some(file.clone())));
    std::fs::remove_file(&file).unwrap();
    let error = read(&both).unwrap_err();
    assert!(error.contains("CONSUL_HTTP_TOKEN_FILE") && !error.contains("fixed"), "{error}");
}
