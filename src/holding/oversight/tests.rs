use super::*;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn found(edges: &[(&str, &str)]) -> Vec<String> {
    let edges = edges.iter().map(|(held, wanted)| (key(held), key(wanted))).collect();
    let names = |circle: Vec<Key>| circle.iter().map(Key::as_str).collect::<Vec<_>>().join(" ");
    circles(&edges).into_iter().map(names).collect()
}

#[test]
fn thousands_of_keys_are_looked_at_more_rarely() {
    let looks = |keys| {
        let mut oversight = Oversight::default();
        (0..60).filter(|_| oversight.is_due(keys)).count()
    };
    assert_eq!([0, 999, 1_000, 10_000, 1_000_000].map(looks), [60, 60, 30, 5, 4]);
}

#[test]
fn a_circle_is_found_once_from_its_least_key_on() {
    assert_eq!(found(&[("b", "a"), ("a", "b")]), ["a b"]);
    assert_eq!(found(&[("c", "a"), ("a", "b"), ("b", "c")]), ["a b c"]);
    assert_eq!(found(&[("a", "a")]), ["a"], "a caller that waits for what it holds");
    let two = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("a", "c")];
    assert_eq!(found(&two), ["a b", "c d"]);
    assert_eq!(
        found(&[("x", "a"), ("a", "b"), ("b", "a")]),
        ["a b"],
        "who waits outside is not in it"
    );
}

#[test]
fn a_chain_or_a_diamond_is_no_circle() {
    assert_eq!(found(&[]), Vec::<String>::new());
    assert_eq!(found(&[("a", "b"), ("b", "c")]), Vec::<String>::new());
    assert_eq!(found(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]), Vec::<String>::new());
}

#[test]
fn a_knot_of_all_keys_is_found_in_bounded_steps() {
    let names: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
    let edges = names.iter().flat_map(|one| names.iter().map(move |other| (&**one, &**other)));
    assert!(!found(&edges.collect::<Vec<_>>()).is_empty());
}
