use super::{super::tests::fixtures::*, *};

fn new() -> CreateSession {
    CreateSession {
        name: "orders \"7\"".into(),
        ttl: Duration::from_secs(15),
        lock_delay: Duration::ZERO,
        checks: Checks::default(),
        patience: Duration::ZERO,
    }
}

fn create(status: u16, body: &str) -> Created {
    read(&new(), status, body)
}

#[test]
fn durations_travel_as_texts_with_a_unit() {
    let request = new().request(&Keyspace::default());
    assert_eq!(request.target, "/v1/session/create");
    assert_eq!(
        body(&request),
        json!({"Name": "orders \"7\"", "TTL": "15000ms", "LockDelay": "0ms", "NodeChecks": [],
                   "ServiceChecks": [], "Behavior": "release"})
    );
}

#[test]
fn a_session_is_bound_to_the_checks_that_it_names() {
    let checks = Checks { node: vec!["disk".into()], service: vec!["service:web".into()] };
    let sent = body(&CreateSession { checks, ..new() }.request(&Keyspace::default()));
    assert_eq!(sent["NodeChecks"], json!(["disk"]));
    assert_eq!(sent["ServiceChecks"], json!([{"ID": "service:web"}]));
}

#[test]
fn a_created_session_is_the_id_that_consul_gives() {
    let body = format!("{{\n    \"ID\": \"{ID}\"\n}}\n");
    assert_eq!(create(200, &body), Created::Session(id()));
    assert_eq!(create(200, &compact(&body)), Created::Session(id()));
    for body in
        [r#"{"ID":""}"#, r#"{"ID":"../kv/x"}"#, r#"{"ID":7}"#, "[]", "{}", "", "{\"ID\":\"ee4"]
    {
        assert!(matches!(create(200, body), Created::Unknown(Trouble::NotConsul(_))), "{body}");
    }
}

#[test]
fn a_ttl_out_of_the_servers_range_is_told_with_that_range() {
    let text = "Invalid Session TTL '15000000000', must be between [30s=24h0m0s]";
    for hops in ["", "rpc error making call: ", "rpc error making call: rpc error making call: "] {
        let told = create(500, &format!("{hops}{text}"));
        assert_eq!(told, Created::TtlRefused("30s=24h0m0s".into()), "{hops}");
    }
}

#[test]
fn what_consul_says_against_a_session_is_handed_on() {
    for (status, text) in [
        (500, "Session TTL '10' invalid: time: missing unit in duration \"10\""),
        (500, "Invalid Behavior setting 'nonsense'"),
        (500, "Missing node registration"),
        (500, "Missing check 'x' registration"),
        (500, "Missing check 'Permission denied' registration"),
        (400, "Request decode failed: invalid character 'x' looking for beginning of value"),
    ] {
        let Created::Unknown(trouble) = create(status, text) else { panic!("{text}") };
        assert!(trouble.to_string().contains(text), "{trouble}");
    }
    assert_eq!(create(403, "Permission denied"), Created::Denied("session:write".into()));
}
