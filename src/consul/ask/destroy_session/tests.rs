use super::{super::tests::fixtures::*, *};

#[test]
fn destroyed_is_the_word_true() {
    let ask = DestroySession { session: id() };
    assert_eq!(ask.request(&Keyspace::default()).target, format!("/v1/session/destroy/{ID}"));
    assert_eq!(read(&ask, 200, "true"), Destroyed::Done);
    assert_eq!(read(&ask, 200, "true\n"), Destroyed::Done);
    for body in ["false", "\"true\"", "[true]", "", "truetrue", "<html>true</html>"] {
        let destroyed = read(&ask, 200, body);
        assert!(matches!(destroyed, Destroyed::Unknown(Trouble::NotConsul(_))), "{body}");
    }
    let denied = Destroyed::Denied("session:write".into());
    assert_eq!(read(&ask, 403, "Permission denied"), denied);
}
