//! Chooses the prefixes to list, so that few and short listings cover many keys.

use std::ops::Range;

/// A prefix that covers more keys than this is split if possible.
pub(super) const MANY_KEYS: usize = 300;

/// A reason to split a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Most of its entries are not watched.
    Bulky,
    /// It cannot be listed: the listing is too long, or the token lacks the right.
    Unlistable,
}

/// A chosen prefix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) prefix: String,
    /// It can be neither listed nor split, so its keys are read one by one.
    pub(super) polled: bool,
    keys: Range<usize>,
    is_final: bool,
}

impl Part {
    fn new(prefix: String, keys: Range<usize>) -> Self {
        Self { prefix, polled: false, keys, is_final: false }
    }
}

/// Divides `keys`, which are sorted and all begin with `root`, among at most `most`
/// prefixes, none a prefix of another. A key that none covers must be read by
/// itself.
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

/// Splits a part. The new parts cannot cover the keys that they leave out.
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
        // A key equal to the stem would cover all the others.
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

/// The longest common prefix.
pub(super) fn common<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    &one[..same.map(|(letter, _)| letter.len_utf8()).sum()]
}

/// `prefix`, cut so that it can stand in a path: Consul redirects a path that ends
/// in a segment of one or two dots.
fn listable(prefix: &str) -> &str {
    let segment = prefix.rfind('/').map_or(0, |slash| slash + 1);
    if matches!(&prefix[segment..], "." | "..") { &prefix[..segment] } else { prefix }
}

#[cfg(test)]
mod tests;
