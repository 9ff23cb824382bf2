use super::*;

fn plan(keys: &[String], most: usize, flaws: &[(&str, Flaw)]) -> Vec<(String, usize, bool)> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let root = common(keys[0], keys[keys.len() - 1]);
    let flaw = |prefix: &str| flaws.iter().find(|(flawed, _)| *flawed == prefix).map(|(_, f)| *f);
    let parts = parts(&keys, root, most, flaw);
    assert!(parts.len() <= most, "{parts:?}");
    for part in &parts {
        assert!(keys[part.keys.clone()].iter().all(|key| key.starts_with(&part.prefix)));
        let others = parts.iter().filter(|other| other.prefix.starts_with(&part.prefix));
        assert_eq!(others.count(), 1, "{parts:?}");
    }
    let mut plan: Vec<_> =
        parts.into_iter().map(|part| (part.prefix, part.keys.len(), part.polled)).collect();
    plan.sort();
    plan
}

fn named(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n:04}")).collect()
}

#[test]
fn few_keys_are_one_listing() {
    assert_eq!(plan(&named("jobs/", 200), 16, &[]), [("jobs/0".into(), 200, false)]);
}

#[test]
fn many_keys_are_split_as_far_as_there_are_places() {
    let keys = named("jobs/", 10_000);
    let tens: Vec<_> = (0..10).map(|n| (format!("jobs/{n}"), 1_000, false)).collect();
    assert_eq!(plan(&keys, 18, &[]), tens);
    assert_eq!(plan(&keys, 5, &[]), [("jobs/".into(), 10_000, false)]);
    assert_eq!(plan(&keys, 100, &[]).len(), 100);
}

#[test]
fn keys_that_have_nothing_in_common_are_not_found_by_listing_the_whole_store() {
    let keys = ["a/1".to_owned(), "b/1".to_owned(), "b/2".to_owned()];
    assert_eq!(plan(&keys, 4, &[]), [("a".into(), 1, false), ("b".into(), 2, false)]);
    assert_eq!(plan(&keys, 1, &[]), [(String::new(), 3, false)]);
}

#[test]
fn a_bulky_prefix_is_narrowed_before_it_is_split() {
    let keys = ["jobs/a/1".to_owned(), "jobs/a/2".to_owned()];
    let strs: Vec<&str> = keys.iter().map(String::as_str).collect();
    let narrowed = parts(&strs, "jobs/", 4, |prefix| (prefix == "jobs/").then_some(Flaw::Bulky));
    assert_eq!(narrowed[0].prefix, "jobs/a/");
    assert!(!narrowed[0].polled);
}

#[test]
fn what_can_be_neither_listed_nor_split_is_polled() {
    let keys = ["a1".to_owned(), "a2".to_owned(), "a3".to_owned()];
    let flaws = [("a", Flaw::Unlistable)];
    assert_eq!(plan(&keys, 2, &flaws), [("a".into(), 3, true)]);
    let split = plan(&keys, 3, &flaws);
    assert_eq!(split.iter().map(|(prefix, ..)| &**prefix).collect::<Vec<_>>(), ["a1", "a2", "a3"]);
    let flaws = [("a", Flaw::Unlistable), ("a1", Flaw::Unlistable)];
    assert_eq!(plan(&keys, 3, &flaws), [("a2".into(), 1, false), ("a3".into(), 1, false)]);
}

#[test]
fn a_key_that_is_the_stem_of_others_is_left_out_of_the_split() {
    let keys = ["a".to_owned(), "a/1".to_owned(), "a/2".to_owned()];
    assert_eq!(plan(&keys, 4, &[("a", Flaw::Bulky)]), [("a/".into(), 2, false)]);
}

#[test]
fn no_prefix_ends_in_a_segment_that_consul_would_redirect() {
    let keys = ["a/.x".to_owned(), "a/.y".to_owned()];
    assert_eq!(plan(&keys, 1, &[]), [("a/".into(), 2, false)]);
    let keys = ["a/..x".to_owned(), "a/b".to_owned()];
    let parts = plan(&keys, 4, &[("a/", Flaw::Bulky)]);
    assert_eq!(parts, [("a/..x".into(), 1, false), ("a/b".into(), 1, false)]);
}

#[test]
fn prefixes_end_between_letters() {
    let keys = ["größe".to_owned(), "gröte".to_owned(), "grüße".to_owned()];
    let parts = plan(&keys, 4, &[("gr", Flaw::Bulky)]);
    assert_eq!(parts, [("grö".into(), 2, false), ("grü".into(), 1, false)]);
}
