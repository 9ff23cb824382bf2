use super::*;

fn reply(status: u16, body: &str) -> WireReply {
    WireReply { status, index: None, body: body.into() }
}

#[test]
fn an_excerpt_is_short_printable_and_without_the_token() {
    let token = Secret::new("b1gs3cret-token");
    let page =
        format!("\u{7}x\u{0}\n\ty {}b1gs3cret\u{1}-token!{}", "z".repeat(150), "é".repeat(300));
    let reply = reply(500, &page);
    let Trouble::Server { status: 500, text } = Answer::new(&reply, Some(&token)).trouble() else {
        panic!("not a server's error")
    };
    assert!(text.starts_with("x y zzz"), "{text}");
    assert!(text.contains("(secret)!") && !text.contains("b1gs3cret"), "{text}");
    assert!(text.chars().count() == EXCERPT && text.ends_with('…'), "{text}");
    assert!(!text.chars().any(char::is_control));
}

#[test]
fn no_part_of_a_token_shows_wherever_a_long_answer_is_cut() {
    let token = Secret::new("b1gs3cret-token");
    for pad in 0..3 * EXCERPT {
        for end in ["", " and more", token.expose()] {
            let page = format!("{}{}{end}", "x".repeat(pad), token.expose().repeat(40));
            let reply = reply(500, &page);
            let excerpt = Answer::new(&reply, Some(&token)).words();
            assert!(!excerpt.contains("b1g"), "{pad}: {excerpt}");
            assert!(excerpt.chars().count() <= EXCERPT, "{pad}: {excerpt}");
        }
    }
}

#[test]
fn trouble_says_whose_answer_it_was() {
    let trouble = |status, body: &str| Answer::new(&reply(status, body), None).trouble();
    let server = |status, text: &str| Trouble::Server { status, text: text.into() };
    for text in [
        "rpc error getting client: failed to get conn: dial tcp: connect: connection refused",
        "rpc error making call: EOF",
        "No cluster leader",
    ] {
        assert_eq!(trouble(500, text), server(500, text));
    }
    let busy = "Your IP is issuing too many concurrent connections, please rate limit your calls";
    assert_eq!(trouble(429, busy), server(429, busy));
    for (status, body, words) in [
        (200, "<!DOCTYPE html><html>Welcome</html>", "Welcome"),
        (502, "\n <html>Bad Gateway</html>", "status 502: <html>Bad Gateway"),
        (301, "", "a redirect, status 301"),
        (404, "404 page not found", "status 404: 404 page not found"),
        (204, "", "status 204 without a body"),
    ] {
        let Trouble::NotConsul(what) = trouble(status, body) else { panic!("{body}") };
        assert!(what.contains(words), "{what}");
    }
}

#[test]
fn a_refusal_names_the_right_unless_it_is_a_proxys() {
    let denied = |body: &str| Answer::new(&reply(403, body), None).denied("session:write");
    assert_eq!(denied("Permission denied").as_deref(), Some("session:write"));
    assert_eq!(
        denied("rpc error making call: Permission denied").as_deref(),
        Some("session:write")
    );
    for text in ["ACL not found", "rpc error making call: ACL not found"] {
        assert_eq!(denied(text), None);
        assert_eq!(Answer::new(&reply(403, text), None).trouble(), Trouble::UnknownToken);
    }
    assert!(denied("Access is restricted").is_some_and(|right| right.contains("restricted")));
    assert_eq!(denied("<html>Forbidden</html>"), None);
    assert_eq!(Answer::new(&reply(200, "Permission denied"), None).denied("x"), None);
}

#[test]
fn a_read_is_refused_for_its_name_by_consul_s_words_or_by_a_proxy_s_400() {
    let refused =
        |status, body: &str, name: &str| Answer::new(&reply(status, body), None).name_refused(name);
    let text = r#"invalid key name, keys should respect the "^[a-z]+$" format"#;
    for (status, name) in [(500, "a%2Fb"), (400, "a%2Fb"), (500, "plain")] {
        assert_eq!(refused(status, text, name), Some(format!("status {status}: {text}")));
    }
    for body in ["", "<html>400 Bad Request</html>"] {
        assert!(refused(400, body, "a b").is_some());
        assert_eq!(refused(400, body, "orders/7=2F8"), None);
        assert_eq!(refused(500, body, "a b"), None);
    }
    assert_eq!(refused(500, "key invalid key name exists", "a b"), None);
    assert_eq!(refused(200, text, "a b"), None);
}
