use super::{super::tests::fixtures::*, *};

#[test]
fn the_sessions_of_one_name_are_those_with_just_that_name() {
    let ask = ListSessions { name: "orders#0000beef".into() };
    assert_eq!(ask.request(&Keyspace::default()).target, "/v1/session/list");
    let other = ID.replace('e', "f");
    let body = format!(
        r#"[{{"ID":"{ID}","Name":"orders#0000beef"}}, {{"ID":"{other}","Name":"orders"}},
                {{"ID":"../x","Name":"orders#0000beef"}}]"#
    );
    assert_eq!(read(&ask, 200, &body), SessionsSeen::Found(vec![id()]));
    assert_eq!(read(&ask, 200, "[]"), SessionsSeen::Found(Vec::new()));
    assert!(matches!(read(&ask, 403, "Permission denied"), SessionsSeen::Denied(_)));
    for (status, body) in [(200, "{}"), (200, "<html>"), (404, ""), (500, "EOF")] {
        assert!(matches!(read(&ask, status, body), SessionsSeen::Unknown(_)), "{body}");
    }
}
