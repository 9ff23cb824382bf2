//! Whether the docs of requests and of public functions say what a caller must know.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{House, Types};
use syn::visit::Visit as _;

/// The source of every module, with its file.
fn sources() -> Vec<(PathBuf, syn::File)> {
    let read = |path: PathBuf| {
        let source = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        (path, source)
    };
    House::read().files.into_values().map(read).collect()
}

fn text(attributes: &[syn::Attribute]) -> String {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let lines =
        docs.filter_map(|attribute| match &attribute.meta.require_name_value().ok()?.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) => {
                Some(line.value() + "\n")
            }
            _ => None,
        });
    lines.collect()
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// The types that implement `Message` by hand.
fn messages(items: &[syn::Item]) -> BTreeSet<String> {
    let implemented = items.iter().filter_map(|item| {
        let syn::Item::Impl(item) = item else { return None };
        let (_, path, _) = item.trait_.as_ref()?;
        let syn::Type::Path(of) = &*item.self_ty else { return None };
        path.is_ident("Message").then(|| of.path.segments.last())?
    });
    implemented.map(|of| of.ident.to_string()).collect()
}

#[test]
fn the_docs_of_each_request_say_its_errors_and_its_cancel_safety() {
    let (mut requests, mut lacking) = (0, Vec::new());
    for (_, source) in sources() {
        let by_hand = messages(&source.items);
        for item in &source.items {
            let syn::Item::Struct(item) = item else { continue };
            let replies = item.attrs.iter().any(|attribute| {
                let reply =
                    attribute.path().is_ident("rtype").then(|| attribute.meta.require_list());
                reply.is_some_and(|reply| {
                    reply.is_ok_and(|r| r.tokens.to_string().contains("Result<"))
                })
            });
            if !is_public(&item.vis) || !(replies || by_hand.contains(&item.ident.to_string())) {
                continue;
            }
            requests += 1;
            let docs = text(&item.attrs);
            for section in ["# Errors", "# Cancel safety"] {
                if !docs.contains(section) {
                    lacking.push(format!("{}: {section}", item.ident));
                }
            }
        }
    }
    assert!(requests > 18, "{requests} requests were found");
    assert!(lacking.is_empty(), "sections that are missing: {lacking:#?}");
}

#[test]
fn the_docs_of_each_public_future_say_its_cancel_safety() {
    let (mut futures, mut lacking) = (0, Vec::new());
    for (path, source) in sources() {
        for item in &source.items {
            let syn::Item::Impl(item) = item else { continue };
            for function in &item.items {
                let syn::ImplItem::Fn(function) = function else { continue };
                let mut types = Types::default();
                types.visit_return_type(&function.sig.output);
                let waits =
                    function.sig.asyncness.is_some() || types.0.iter().any(|name| name == "Future");
                if is_public(&function.vis) && waits {
                    futures += 1;
                    if !text(&function.attrs).contains("# Cancel safety") {
                        lacking.push(format!("{}: {}", path.display(), function.sig.ident));
                    }
                }
            }
        }
    }
    assert!(futures > 12, "{futures} futures were found");
    assert!(lacking.is_empty(), "without a section on cancel safety: {lacking:#?}");
}

#[test]
fn the_docs_of_recipients_list_each_request_that_has_an_effect() {
    let requests = fs::read_to_string(Path::new("src/dsync/request.rs")).unwrap();
    let (_, requests) = requests.split_once("request! { false:").unwrap();
    let (requests, _) = requests.split_once("\n}").unwrap();
    let docs = fs::read_to_string(Path::new("src/dsync/handle.rs")).unwrap();
    let (_, docs) = docs.split_once("It is carried out if").unwrap();
    let (docs, _) = docs.split_once("Any other").unwrap();
    let mut found = 0;
    for line in requests.lines().filter(|line| line.contains("=>")) {
        let name = line.trim().split([' ', '<']).next().unwrap();
        assert!(docs.contains(&format!("[`{name}`]")), "{name}");
        found += 1;
    }
    assert_eq!(docs.matches("[`").count(), found);
}

#[test]
fn the_examples_of_every_page_of_the_guide_are_compiled() {
    let source = fs::read_to_string("src/lib.rs").unwrap();
    let mut pages = 0;
    for page in fs::read_dir("docs/guide").unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        assert!(
            source.contains(&format!("\"../docs/guide/{name}\"")),
            "{name} is missing in src/lib.rs"
        );
        pages += 1;
    }
    assert!(pages > 10);
}
