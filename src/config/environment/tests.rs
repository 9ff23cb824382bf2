use super::*;

fn read(variables: &[(&'static str, &str)]) -> Result<Config, String> {
    Config::from_variables(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    })
    .map_err(|error| error.to_string())
}

#[test]
fn an_address_is_read_as_consuls_tools_read_it() {
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
    ] {
        let config = read(&[("CONSUL_HTTP_ADDR", address), ("CONSUL_HTTP_SSL", ssl)]).unwrap();
        assert_eq!(config.address, url, "{address:?}, {ssl:?}");
        crate::consul::http::Address::parse(&config.address).unwrap();
    }
}

#[test]
fn an_unsupported_variable_that_affects_security_is_refused_by_name() {
    for (name, value) in UNSUPPORTED.map(|(name, _)| (name, "x")).into_iter().chain([
        ("CONSUL_HTTP_SSL_VERIFY", "false"),
        ("CONSUL_HTTP_SSL_VERIFY", "no"),
        ("CONSUL_HTTP_SSL", "yes"),
        ("CONSUL_HTTP_TOKEN_FILE", "/nonexistent/token"),
    ]) {
        let refused = read(&[(name, value)]).unwrap_err();
        assert!(refused.starts_with(&format!("environment variable {name}: ")), "{refused}");
        assert_eq!(read(&[(name, "")]), Ok(Config::default()));
    }
    read(&[("CONSUL_HTTP_SSL_VERIFY", "true")]).unwrap();
}

#[test]
fn the_token_file_comes_before_the_token_unless_it_is_blank() {
    let file = std::env::temp_dir().join(format!("dsync-token-{}", std::process::id()));
    let path = file.to_str().unwrap();
    let both = [("CONSUL_HTTP_TOKEN_FILE", path), ("CONSUL_HTTP_TOKEN", "fixed")];
    for (content, token) in [("from-file\n", "from-file"), (" \n", "fixed")] {
        std::fs::write(&file, content).unwrap();
        assert_eq!(read(&both).unwrap().token, Some(Secret::new(token)));
    }
    std::fs::remove_file(&file).unwrap();
    let error = read(&both).unwrap_err();
    assert!(error.contains("CONSUL_HTTP_TOKEN_FILE") && !error.contains("fixed"), "{error}");
}
