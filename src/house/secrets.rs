//! Whether a field that may hold a secret has a type that prints none, and whether a secret's
//! text is read only where it is sent.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

use super::{House, Types, is_test};

/// Where the text of a secret is read: to send it, and to hide it in replies.
const EXPOSING: [&str; 4] = [
    "src/consul/answer.rs",
    "src/consul/ask/log_in.rs",
    "src/consul/credentials.rs",
    "src/consul/http/line.rs",
];

/// Collects the fields of structs and enums that are named like a secret, with their types.
#[derive(Default)]
struct SecretFields(Vec<(String, String)>);

impl<'ast> Visit<'ast> for SecretFields {
    fn visit_field(&mut self, field: &'ast syn::Field) {
        const NAMES: [&str; 8] =
            ["password", "secret", "bearer", "basic", "http_auth", "private", "header", "pem"];
        let Some(name) = field.ident.as_ref().map(ToString::to_string) else { return };
        if !is_test(&field.attrs) && NAMES.iter().any(|word| name.contains(word)) {
            let mut types = Types::default();
            types.visit_type(&field.ty);
            self.0.push((name, types.0.join(" ")));
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

#[test]
fn a_field_that_is_named_like_a_secret_has_a_type_that_prints_none() {
    const QUIET: [&str; 3] = ["Secret", "HeaderValue", "PathBuf"];
    let mut house = House::default();
    house.enter(Vec::new(), Path::new("src/lib.rs").to_owned(), false);
    let mut fields = SecretFields::default();
    house.sources.iter().for_each(|(_, _, source)| fields.visit_file(source));
    let (mut found, mut loud) = (0, Vec::new());
    for (name, types) in fields.0 {
        found += 1;
        if !QUIET.iter().any(|quiet| types.split(' ').any(|found| found == *quiet)) {
            loud.push(format!("{name}: {types}"));
        }
    }
    assert!(found >= 5, "{found} fields were found");
    assert!(loud.is_empty(), "fields that may print a secret: {loud:?}");
}

#[test]
fn a_secret_is_read_only_where_it_is_sent_or_hidden() {
    let house = House::read();
    let reads = |file: &&PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        text.contains(".expose()") && !file.ends_with("secret.rs")
    };
    let reading: BTreeSet<&Path> = house.files.values().filter(reads).map(|file| &**file).collect();
    assert_eq!(reading, EXPOSING.iter().map(Path::new).collect());
}
