use super::*;

#[test]
fn paths_are_normalised_as_in_go() {
    for (path, clean) in [
        ("/v1/kv/a/", "/v1/kv/a/"),
        ("//v1/kv/a", "/v1/kv/a"),
        ("/v1/kv/a//b", "/v1/kv/a/b"),
        ("/v1/kv/a/./b", "/v1/kv/a/b"),
        ("/v1/kv/..", "/v1"),
        ("/..", "/"),
        ("", "/"),
    ] {
        assert_eq!(clean_path(path.as_bytes()), clean.as_bytes(), "{path}");
    }
}

#[test]
fn a_redirect_keeps_the_query_unchanged() {
    let reply = Target::parse("/v1/kv/%2Fa%20b?x=%41", "PUT").unwrap_err();
    assert_eq!(reply.location.as_deref(), Some("/v1/kv/a%20b?x=%41"));
    assert!(reply.body.is_empty());
}

#[test]
fn a_plus_is_a_space_in_the_query_only() {
    let target = Target::parse("/v1/kv/a+b?x=a+b", "GET").unwrap();
    assert_eq!(target.path, b"/v1/kv/a+b");
    assert_eq!(target.query.get("x"), Some("a b"));
}
