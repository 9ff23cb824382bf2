//! Which prefixes are listed, so that few listings cover many keys and none is
//! long.

use std::ops::Range;

/// A prefix that covers more keys than this is split, if it can be.
pub(super) const MANY_KEYS: usize = 300;

/// What is known of a prefix that is better split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Most of what lies there is of no interest.
    Bulky,
    /// It cannot be listed: it is too long, or the token may not.
    Unlistable,
}

/// A prefix to be listed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) prefix: String,
    /// It cannot be listed, and not be split either: its keys are read one by
    /// one.
    pub(super) polled: bool,
    keys: Range<usize>,
    is_final: bool,
}

impl Part {
    fn new(prefix: String, keys: Range<usize>) -> Self {
        Self { prefix, polled: false, keys, is_final: false }
    }
}

/// Parts `keys`, which are sorted and all begin with `root`, among at most
/// `most` prefixes, none of which is a prefix of another. A key that none covers
/// is to be read by itself.
pub(super) fn parts(
    keys: &[&str],
    root: &str,
    most: usize,
    flaw: impl Fn(&str) -> Option<Flaw>,
) -> Vec<Part> {
    if keys.is_empty() {
        return Vec::new();
    }
    let flaw = |prefix: &str| match flaw(prefix) {
        // The whole store, unless the runtime has a prefix.
        None if prefix.is_empty() => Some(Flaw::Bulky),
        known => known,
    };
    let mut parts = vec![Part::new(listable(root).to_owned(), 0..keys.len())];
    loop {
        let weigh = |part: &Part| {
            let flawed = flaw(&part.prefix).is_some();
            let count = part.keys.len();
            (!part.is_final && (flawed || count > MANY_KEYS)).then_some((flawed, count))
        };
        let heaviest = (0..parts.len())
            .filter_map(|place| Some((weigh(&parts[place])?, place)))
            .max_by_key(|(weight, _)| *weight);
        let Some(((flawed, _), place)) = heaviest else { break };
        let children = split(keys, &parts[place], flawed);
        if parts.len() - 1 + children.len() > most {
            parts[place].is_final = true;
        } else {
            parts.swap_remove(place);
            parts.extend(children);
        }
    }
    for part in &mut parts {
        part.polled = flaw(&part.prefix) == Some(Flaw::Unlistable);
    }
    parts
}

/// The parts of a part; what they leave out can be covered by none of them.
fn split(keys: &[&str], part: &Part, narrow: bool) -> Vec<Part> {
    let all = &keys[part.keys.clone()];
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Vec::new() };
    let stem = common(first, last);
    if narrow && stem.len() > part.prefix.len() && listable(stem) == stem {
        return vec![Part::new(stem.to_owned(), part.keys.clone())];
    }
    let branch = |key: &str| key[stem.len()..].chars().next();
    let mut children = Vec::new();
    let mut from = 0;
    for run in all.chunk_by(|one, next| branch(one) == branch(next)) {
        let range = part.keys.start + from..part.keys.start + from + run.len();
        from += run.len();
        // A key that is the stem of the others would cover them all.
        let Some(letter) = branch(run[0]) else { continue };
        let mut prefix = format!("{stem}{letter}");
        if listable(&prefix) != prefix {
            prefix = common(run[0], run[run.len() - 1]).to_owned();
        }
        if listable(&prefix) == prefix {
            children.push(Part::new(prefix, range));
        }
    }
    children
}

/// What both begin with.
pub(super) fn common<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    &one[..same.map(|(letter, _)| letter.len_utf8()).sum()]
}

/// `prefix`, or as much of it as can stand in a path: Consul redirects one that
/// ends in a segment of one or two dots.
fn listable(prefix: &str) -> &str {
    let segment = prefix.rfind('/').map_or(0, |slash| slash + 1);
    if matches!(&prefix[segment..], "." | "..") { &prefix[..segment] } else { prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(keys: &[String], most: usize, flaws: &[(&str, Flaw)]) -> Vec<(String, usize, bool)> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let root = common(keys[0], keys[keys.len() - 1]);
        let flaw =
            |prefix: &str| flaws.iter().find(|(flawed, _)| *flawed == prefix).map(|(_, f)| *f);
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
        let narrowed =
            parts(&strs, "jobs/", 4, |prefix| (prefix == "jobs/").then_some(Flaw::Bulky));
        assert_eq!(narrowed[0].prefix, "jobs/a/");
        assert!(!narrowed[0].polled);
    }

    #[test]
    fn what_can_be_neither_listed_nor_split_is_polled() {
        let keys = ["a1".to_owned(), "a2".to_owned(), "a3".to_owned()];
        let flaws = [("a", Flaw::Unlistable)];
        assert_eq!(plan(&keys, 2, &flaws), [("a".into(), 3, true)]);
        let split = plan(&keys, 3, &flaws);
        assert_eq!(
            split.iter().map(|(prefix, ..)| &**prefix).collect::<Vec<_>>(),
            ["a1", "a2", "a3"]
        );
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
}
