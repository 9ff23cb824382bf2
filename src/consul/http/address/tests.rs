use super::*;

#[test]
fn takes_urls_and_consuls_short_form() {
    for (text, https, authority) in [
        ("http://127.0.0.1:8500", false, "127.0.0.1:8500"),
        ("http://127.0.0.1:8500/", false, "127.0.0.1:8500"),
        ("HTTPS://consul.example:8501", true, "consul.example:8501"),
        ("https://consul.example", true, "consul.example"),
        ("localhost:8500", false, "localhost:8500"),
        (" 127.0.0.1:8500 ", false, "127.0.0.1:8500"),
        ("http://[::1]:8500", false, "[::1]:8500"),
    ] {
        let address = Address::parse(text).unwrap();
        assert_eq!((address.is_https(), address.authority()), (https, authority), "{text}");
    }
}

#[test]
fn takes_a_gateways_path_and_a_unix_socket() {
    for (text, authority, path) in [
        ("https://gateway/consul", "gateway", "/consul"),
        ("https://gateway:8443/a/b/", "gateway:8443", "/a/b"),
        ("gateway:80/consul", "gateway:80", "/consul"),
        ("http://gateway/a%20b", "gateway", "/a%20b"),
        ("http://gateway//", "gateway", ""),
    ] {
        let address = Address::parse(text).unwrap();
        assert_eq!((address.authority(), address.path()), (authority, path), "{text}");
        assert_eq!(address.socket(), None);
    }
    for (text, path) in
        [("unix:///run/consul.sock", "/run/consul.sock"), ("UNIX://c.sock", "c.sock")]
    {
        let address = Address::parse(text).unwrap();
        assert_eq!((address.socket(), address.is_https()), (Some(Path::new(path)), false));
    }
}

#[test]
fn an_ipv6_host_is_resolved_without_its_brackets_and_the_scheme_has_a_port() {
    for (text, host, port) in [
        ("https://[::1]:8443", "::1", 8443),
        ("http://[2001:db8::7]", "2001:db8::7", 80),
        ("https://consul.example", "consul.example", 443),
    ] {
        let address = Address::parse(text).unwrap();
        let Endpoint::Tcp { host: found, port: at, .. } = address.endpoint() else {
            panic!("{text}")
        };
        assert_eq!((found.as_str(), *at), (host, port), "{text}");
    }
}

#[test]
fn an_invalid_address_is_refused_with_an_escaped_text_that_says_what_to_write() {
    for (text, word) in [
        ("", "no host"),
        ("localhost", "no port"),
        ("http://localhost:", "no number"),
        ("http://localhost:0", "port 0"),
        ("http://localhost:99999", "no number"),
        ("http://:8500", "no host"),
        ("http://", "no host"),
        ("unix://", "no socket"),
        ("ftp://localhost:8500", "scheme 'ftp'"),
        ("http://localhost:8500/v1", "/v1"),
        ("http://gateway/consul/v1/", "/v1"),
        ("http://localhost:8500/a//b", "a path"),
        ("http://localhost:8500/../b", "a path"),
        ("http://localhost:8500/a b", "a path"),
        ("http://localhost:8500?dc=x", "a query"),
        ("http://local host:8500", "no host and port"),
    ] {
        let why = Address::parse(text).unwrap_err();
        assert!(why.contains(word), "{text}: {why}");
    }
    for hostile in ["\u{1b}[2J\n://localhost:8500", "http://\u{1b}[2J\n:8500", "\u{202e}host"] {
        let why = Address::parse(hostile).unwrap_err();
        assert!(!why.contains(['\n', '\u{1b}', '\u{202e}']), "{why:?}");
    }
    let why = Address::parse("http://me:hunter2@localhost:8500").unwrap_err();
    assert!(why.contains('@') && !why.contains("hunter2"), "{why}");
}
