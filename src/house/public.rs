//! Whether `tests/support/public-types.txt` lists every public type.

use std::{collections::BTreeSet, fs};

/// The files whose public names are ours.
const ROOTS: [&str; 4] = ["src/lib.rs", "src/config.rs", "src/web/mod.rs", "src/embedded/mod.rs"];

fn exported(items: &[syn::Item], names: &mut BTreeSet<String>) {
    let mut note = |name: &syn::Ident| {
        let name = name.to_string();
        // Constants have no lower case.
        if name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase) {
            names.insert(name);
        }
    };
    for item in items {
        match item {
            syn::Item::Use(item) if is_public(&item.vis) => each_name(&item.tree, &mut note),
            syn::Item::Struct(item) if is_public(&item.vis) => note(&item.ident),
            syn::Item::Enum(item) if is_public(&item.vis) => note(&item.ident),
            _ => {}
        }
    }
    for item in items {
        if let syn::Item::Mod(item) = item
            && is_public(&item.vis)
            && let Some((_, items)) = &item.content
        {
            exported(items, names);
        }
    }
}

fn each_name(tree: &syn::UseTree, note: &mut dyn FnMut(&syn::Ident)) {
    match tree {
        syn::UseTree::Path(path) => each_name(&path.tree, note),
        syn::UseTree::Name(name) => note(&name.ident),
        syn::UseTree::Rename(name) => note(&name.rename),
        syn::UseTree::Glob(_) => panic!("a glob hides what it exports"),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| each_name(tree, note)),
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

#[test]
fn every_public_type_is_printed_among_planted_secrets_or_listed_as_without_any() {
    let mut names = BTreeSet::new();
    for root in ROOTS {
        let source = syn::parse_file(&fs::read_to_string(root).unwrap()).unwrap();
        exported(&source.items, &mut names);
    }
    let list = include_str!("../../tests/support/public-types.txt");
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let listed: BTreeSet<_> =
        lines.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
    let missing: Vec<_> = names.difference(&listed).collect();
    assert!(missing.is_empty(), "not in tests/support/public-types.txt: {missing:?}");
    let gone: Vec<_> = listed.difference(&names).collect();
    assert!(gone.is_empty(), "no longer public: {gone:?}");
}

/// Types whose values a caller must keep or look at: dropping one has an effect or hides a result.
const KEPT: [&str; 13] = [
    "Builder",
    "EmbeddedServer",
    "Events",
    "LeaderConfig",
    "LeaderOnly",
    "Lease",
    "LeaseSet",
    "LockPath",
    "Observer",
    "Released",
    "Reply",
    "Singleton",
    "SingletonHandle",
];

/// Whether it is a message with a reply that can fail: a request.
fn is_request(item: &syn::ItemStruct) -> bool {
    let mut rtypes = item.attrs.iter().filter(|attr| attr.path().is_ident("rtype"));
    rtypes.any(|attr| {
        let text = attr.meta.require_list().map(|list| list.tokens.to_string());
        text.unwrap_or_default().contains("\"Result<")
    })
}

#[test]
fn who_ignores_a_request_or_what_it_gives_is_warned() {
    let mut kept = BTreeSet::from(KEPT);
    let mut requests = 0;
    let mut silent = Vec::new();
    for path in super::House::read().files.values() {
        let source = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
        for item in &source.items {
            let (name, attrs, is_request) = match item {
                syn::Item::Struct(item) if is_public(&item.vis) => {
                    (&item.ident, &item.attrs, is_request(item))
                }
                syn::Item::Enum(item) if is_public(&item.vis) => (&item.ident, &item.attrs, false),
                _ => continue,
            };
            requests += usize::from(is_request);
            let is_kept = kept.remove(name.to_string().as_str());
            let warns = attrs.iter().any(|attr| attr.path().is_ident("must_use"));
            if (is_kept || is_request) && !warns {
                silent.push(name.to_string());
            }
        }
    }
    assert!(kept.is_empty(), "no such types: {kept:?}");
    assert!(requests > 15, "only {requests} requests were found");
    assert!(silent.is_empty(), "without #[must_use]: {silent:?}");
}
