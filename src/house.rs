//! Whether the arrows between modules point down the list in CONTRIBUTING.md, and
//! no files depend on each other in a circle.
//!
//! It reads the source, without what is compiled for tests alone.

mod docs;
mod logs;
mod public;
#[cfg(target_os = "linux")]
mod scripts;
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    buffer::{Cursor, TokenBuffer},
    visit::{self, Visit},
};

/// A module's path below the crate, such as `["protocol", "lock"]`.
type Module = Vec<String>;

/// Every module that is not for tests alone, with its file.
#[derive(Default)]
struct House {
    files: BTreeMap<Module, PathBuf>,
    /// Which files each file uses.
    arrows: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Which names each module exports for other modules, and where they are from.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
    sources: Vec<(Module, PathBuf, syn::File)>,
    /// The files of the modules for tests alone.
    tests: BTreeSet<PathBuf>,
}

impl House {
    fn read() -> Self {
        let mut house = Self::default();
        house.enter(Vec::new(), Path::new("src/lib.rs").to_owned(), false);
        let mut found = Vec::new();
        for (module, path, source) in std::mem::take(&mut house.sources) {
            let names = Names::of(module.clone(), &source);
            house.exports.insert(module, names.exports);
            found.push((path, names.found));
        }
        for (path, names) in found {
            let used = names.iter().filter_map(|name| house.file_of(name));
            let used = used.filter(|file| *file != path).collect();
            house.arrows.insert(path, used);
        }
        // The root exports everything; nothing below it may name it.
        house.arrows.remove(Path::new("src/lib.rs"));
        house
    }

    fn enter(&mut self, module: Module, path: PathBuf, is_test_only: bool) {
        let text = fs::read_to_string(&path).unwrap_or_else(|err| panic!("{path:?}: {err}"));
        let source = syn::parse_file(&text).unwrap_or_else(|err| panic!("{path:?}: {err}"));
        let stem = path.file_stem().unwrap().to_owned();
        let folder = match stem.to_str() {
            Some("mod" | "lib") => path.parent().unwrap().to_owned(),
            _ => path.with_extension(""),
        };
        for item in &source.items {
            if let syn::Item::Mod(inner) = item
                && inner.content.is_none()
            {
                let name = inner.ident.to_string();
                let flat = folder.join(format!("{name}.rs"));
                let file = if flat.exists() { flat } else { folder.join(&name).join("mod.rs") };
                let is_test_only = is_test_only || is_test(&inner.attrs);
                self.enter([&module[..], &[name]].concat(), file, is_test_only);
            }
        }
        if is_test_only {
            self.tests.insert(path);
        } else {
            self.files.insert(module.clone(), path.clone());
            self.sources.push((module, path, source));
        }
    }

    /// The file in which the named thing is, whichever modules export it.
    fn file_of(&self, name: &[String]) -> Option<PathBuf> {
        let length = (0..=name.len()).rev().find(|it| self.files.contains_key(&name[..*it]))?;
        let (module, rest) = name.split_at(length);
        let exported = rest.first().and_then(|first| self.exports.get(module)?.get(first));
        match exported.filter(|from| *from != name) {
            Some(from) => self.file_of(&[&from[..], &rest[1..]].concat()),
            None => self.files.get(module).cloned(),
        }
    }

    /// Every file, with those that it uses or exports from.
    fn named(&self) -> impl Iterator<Item = (&Path, BTreeSet<PathBuf>)> {
        self.files.iter().filter_map(|(module, file)| {
            let mut named = self.arrows.get(file)?.clone();
            let exported = self.exports.get(module).into_iter().flat_map(BTreeMap::values);
            named.extend(exported.filter_map(|name| self.file_of(name)));
            Some((&**file, named))
        })
    }

    /// The groups of files that reach each other.
    fn circles(&self) -> Vec<BTreeSet<&Path>> {
        let reach = |from: &'_ Path| -> BTreeSet<&Path> {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&Path> =
                self.arrows.get(from).into_iter().flatten().map(|p| &**p).collect();
            while let Some(file) = next.pop() {
                if seen.insert(file) {
                    next.extend(self.arrows.get(file).into_iter().flatten().map(|p| &**p));
                }
            }
            seen
        };
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            self.arrows.keys().map(|file| (&**file, reach(file))).collect();
        let mut circles: Vec<BTreeSet<&Path>> = Vec::new();
        for (file, there) in &reached {
            if there.contains(file) && !circles.iter().any(|circle| circle.contains(file)) {
                let back = |other: &&&Path| reached.get(**other).is_some_and(|s| s.contains(file));
                circles.push(there.iter().filter(back).copied().collect());
            }
        }
        circles
    }
}

/// Collects the paths in one file that begin in this crate.
struct Names {
    /// The module around what is being read; the last is the innermost.
    inside: Vec<Module>,
    /// The modules that the file declares: a path may begin with one.
    children: BTreeSet<String>,
    /// The names that the file exports for other modules. That alone uses nothing; whoever
    /// uses such a name uses its origin.
    exports: BTreeMap<String, Module>,
    found: BTreeSet<Module>,
}

impl Names {
    fn of(module: Module, source: &syn::File) -> Self {
        let modules = source.items.iter().filter_map(|item| match item {
            syn::Item::Mod(inner) => Some(inner.ident.to_string()),
            _ => None,
        });
        let (exports, found) = (BTreeMap::new(), BTreeSet::new());
        let mut names = Self { inside: vec![module], children: modules.collect(), exports, found };
        for item in &source.items {
            if let syn::Item::Use(item) = item
                && !matches!(item.vis, syn::Visibility::Inherited)
                && !is_test(&item.attrs)
            {
                each_import(&[], &item.tree, &mut |path, name| {
                    if let Some((path, name)) = names.absolute(path).zip(name) {
                        names.exports.insert(name, path);
                    }
                });
            }
        }
        names.visit_file(source);
        names
    }

    fn note(&mut self, path: &[String]) {
        self.found.extend(self.absolute(path));
    }

    /// The path from the crate's root, if it begins in this crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let module = self.inside.last()?;
        let path = match path.iter().position(|part| part != "self") {
            Some(first) if first > 0 && path[first] == "super" => &path[first..],
            _ => path,
        };
        let ups = path.iter().take_while(|part| *part == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&module[..], &path[1..]].concat()),
            "super" => Some([&module[..module.len() - ups], &path[ups..]].concat()),
            child if path.len() > 1 && self.children.contains(child) => {
                Some([&self.inside[0][..], path].concat())
            }
            exported => self.exports.get(exported).map(|from| [&from[..], &path[1..]].concat()),
        }
    }

    /// Notes the paths among tokens that `syn` does not parse: those of a macro or an
    /// attribute. `before` is the path before a group of a `use`.
    fn tokens(&mut self, mut at: Cursor<'_>, before: &[String]) {
        let fresh = || (before.to_vec(), if before.is_empty() { 0 } else { 2 });
        let (mut path, mut colons) = fresh();
        while !at.eof() {
            if let Some((name, next)) = at.ident() {
                if colons != 2 {
                    self.note(&path);
                    path.clear();
                }
                path.push(name.to_string());
                (at, colons) = (next, 0);
            } else if let Some((_, next)) = at.punct().filter(|(it, _)| it.as_char() == ':') {
                (at, colons) = (next, colons + 1);
            } else if let Some((inside, _, _, next)) = at.any_group() {
                let is_tree = colons == 2 && !path.is_empty();
                if !is_tree {
                    self.note(&path);
                    path.clear();
                }
                self.tokens(inside, &path);
                at = next;
                (path, colons) = fresh();
            } else {
                self.note(&path);
                (path, colons) = fresh();
                let Some((_, next)) = at.token_tree() else { return };
                at = next;
            }
        }
        self.note(&path);
    }
}

/// Passes on each path of a `use`, with the name that it gets; a glob gives none.
fn each_import(
    before: &[String],
    tree: &syn::UseTree,
    to: &mut dyn FnMut(&[String], Option<String>),
) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => each_import(&with(&path.ident), &path.tree, to),
        syn::UseTree::Name(name) if name.ident == "self" => to(before, before.last().cloned()),
        syn::UseTree::Name(name) => to(&with(&name.ident), Some(name.ident.to_string())),
        syn::UseTree::Rename(name) if name.ident == "self" => {
            to(before, Some(name.rename.to_string()));
        }
        syn::UseTree::Rename(name) => to(&with(&name.ident), Some(name.rename.to_string())),
        syn::UseTree::Glob(_) => to(before, None),
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| each_import(before, tree, to));
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            let exports = !matches!(item.vis, syn::Visibility::Inherited);
            each_import(&[], &item.tree, &mut |path, name| {
                if !exports || name.is_none() {
                    self.note(path);
                }
            });
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.note(&parts);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        assert!(!call.path.is_ident("include"), "`include!` hides a file from this check");
        self.visit_path(&call.path);
        self.tokens(TokenBuffer::new2(call.tokens.clone()).begin(), &[]);
    }

    /// An attribute may name a function in a string: `#[serde(with = "crate::x")]`.
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        assert!(!attribute.path().is_ident("path"), "`#[path]` hides a file from this check");
        let syn::Meta::List(list) = &attribute.meta else { return };
        self.tokens(TokenBuffer::new2(list.tokens.clone()).begin(), &[]);
        for text in list.tokens.to_string().split('"').skip(1).step_by(2) {
            self.note(&text.split("::").map(|part| part.trim().to_owned()).collect::<Vec<_>>());
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        assert!(item.ident != "self", "another name of this crate hides paths from this check");
    }

    /// `pub(crate)` and `pub(super)` name nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() && !is_test(&item.attrs) {
            let around = self.inside.last().cloned().unwrap_or_default();
            self.inside.push([&around[..], &[item.ident.to_string()]].concat());
            visit::visit_item_mod(self, item);
            self.inside.pop();
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_test(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_expr_if(&mut self, expr: &'ast syn::ExprIf) {
        if !is_test(&expr.attrs) {
            visit::visit_expr_if(self, expr);
        }
    }
}

/// Whether it is compiled for tests alone.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if !attribute.path().is_ident("cfg") {
            return false;
        }
        let Ok(list) = attribute.meta.require_list() else { return false };
        let condition = list.tokens.to_string();
        condition == "test"
            || condition.starts_with("all (test")
            || condition.starts_with("doctest")
    })
}

/// The names of the types that a type contains.
#[derive(Default)]
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.0.push(segment.ident.to_string());
        visit::visit_path_segment(self, segment);
    }
}

/// The list in CONTRIBUTING.md: for each module at the top of `src/` its floor,
/// counted from the top; and the folders whose files are parts of one machine.
struct List {
    floors: BTreeMap<String, usize>,
    machines: Vec<PathBuf>,
}

impl List {
    fn read() -> Self {
        let text = fs::read_to_string("CONTRIBUTING.md").unwrap();
        let (_, text) = text.split_once("An arrow between modules may only point down").unwrap();
        let mut list = Self { floors: BTreeMap::new(), machines: Vec::new() };
        let rows = text.lines().skip_while(|line| !line.starts_with("|---"));
        let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
        for (floor, row) in rows.enumerate() {
            let names = row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2);
            for name in names {
                let name = name.trim_start_matches("src/").trim_end_matches('/');
                list.floors.insert(name.trim_end_matches(".rs").to_owned(), floor);
            }
        }
        let (_, text) = text.split_once("one machine:").unwrap();
        let (folders, _) = text.split_once('.').unwrap();
        list.machines.extend(folders.split('`').skip(1).step_by(2).map(PathBuf::from));
        list
    }

    fn floor(&self, file: &Path) -> Option<usize> {
        self.floors.get(top(file)?).copied()
    }

    /// Whether it is on the lowest floor, whose values are made of each other.
    fn is_value(&self, file: &Path) -> bool {
        self.floor(file) == self.floors.values().max().copied()
    }
}

/// The module at the top of `src/` in which the file is.
fn top(file: &Path) -> Option<&str> {
    Some(file.strip_prefix("src").ok()?.iter().next()?.to_str()?.trim_end_matches(".rs"))
}

#[test]
fn arrows_between_modules_point_down_the_list_in_contributing() {
    let (house, list) = (House::read(), List::read());
    let mut wrong = Vec::new();
    for (from, named) in house.named() {
        let Some(floor) = list.floor(from) else {
            wrong.push(format!("{} is not in the list", from.display()));
            continue;
        };
        for to in named.iter().filter(|to| top(to) != top(from)) {
            match list.floor(to) {
                Some(below) if below > floor => {}
                Some(same) if same == floor && list.is_value(to) => {}
                _ => wrong.push(format!("{} names {}", from.display(), to.display())),
            }
        }
    }
    assert!(house.arrows.len() > 80, "{} files were read", house.arrows.len());
    assert!(wrong.is_empty(), "arrows that the list does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_name_each_other_in_a_circle_except_within_one_machine() {
    let (house, list) = (House::read(), List::read());
    let is_machine = |circle: &BTreeSet<&Path>| {
        list.machines.iter().any(|folder| circle.iter().all(|file| file.starts_with(folder)))
            || circle.iter().all(|file| list.is_value(file))
    };
    let circles = house.circles();
    let wrong: Vec<_> = circles.iter().filter(|circle| !is_machine(circle)).collect();
    assert!(wrong.is_empty(), "circles: {wrong:#?}");
}

#[test]
fn every_file_is_a_module_that_is_checked_or_for_tests_alone() {
    let house = House::read();
    let mut read: BTreeSet<PathBuf> = house.files.values().cloned().collect();
    read.extend(house.tests);
    let mut unread = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path != Path::new("src/bin") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") && !read.contains(&path) {
                unread.push(path);
            }
        }
    }
    assert!(unread.is_empty(), "no module has these files: {unread:?}");
}

#[test]
fn a_module_is_found_however_it_is_named() {
    for text in [
        "use crate::actors;",
        "use crate::actors as a;",
        "use crate::{actors, clock};",
        "use crate::{clock, actors::{self, lock}};",
        "use crate::actors::*;",
        "use super::super::actors::Lock;",
        "use self::super::super::actors::Lock;",
        "pub(super) use crate::actors::Lock;",
        "fn f() { use crate::actors::Lock; }",
        "fn f() { crate::actors::lock::run() }",
        "fn f(it: Vec<crate::actors::Lock>) {}",
        "fn f() -> impl Fn(crate::actors::Lock) {}",
        "fn f() { <crate::actors::Lock as Clone>::clone() }",
        "fn f() { <u8 as Into<crate::actors::Lock>>::into(1) }",
        "impl crate::actors::Timed for u8 {}",
        "#[derive(crate::actors::Derived)] struct A;",
        "#[serde(with = \"crate::actors::text\")] struct A { b: u8 }",
        "struct A { #[serde(with = \"super::super::actors::text\")] b: u8 }",
        "fn f() { assert!(crate::actors::IS_OPEN, \"{}\", 1) }",
        "fn f() { matches!(1, n if n == super::super::actors::lock::LIMIT) }",
        "macro_rules! a { () => { $crate::actors::run() } }",
        "macro_rules! a { () => { use crate::{clock::Moment, actors::Lock}; } }",
        "crate::actors::handlers!(A, B);",
        "mod inner { use super::super::super::actors::Lock; }",
        "const A: [u8; crate::actors::SIZE] = [];",
    ] {
        let module = vec!["protocol".to_owned(), "lock".to_owned()];
        let names = Names::of(module, &syn::parse_file(text).unwrap());
        let mut found = names.found.iter().chain(names.exports.values());
        assert!(found.any(|name| name.first().is_some_and(|it| it == "actors")), "{text}");
    }
}

#[test]
fn the_root_and_a_child_are_found_without_a_path_to_them() {
    let found = |text: &str| {
        let module = vec!["protocol".to_owned(), "lock".to_owned()];
        let found = Names::of(module, &syn::parse_file(text).unwrap()).found;
        found.into_iter().map(|name| name.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(found("use crate as root;"), [""]);
    assert_eq!(found("use crate::*;"), [""]);
    assert_eq!(found("mod wait; use wait::Wait;"), ["protocol::lock::wait::Wait"]);
    assert_eq!(found("mod wait; fn f() { wait::run(1) }"), ["protocol::lock::wait::run"]);
    assert_eq!(found("mod wait; fn f(wait: u8) -> u8 { wait }"), [""; 0]);
    assert_eq!(found("mod wait; pub(super) use wait::Wait;"), [""; 0]);
    let uses = "mod wait; pub(super) use wait::Wait; fn f(it: Wait) {}";
    assert_eq!(found(uses), ["protocol::lock::wait::Wait"]);
    assert_eq!(found("/// See [`crate::actors`].\n#[cfg(test)] use crate::actors::A;"), [""; 0]);
}

#[test]
fn every_folder_that_is_listed_as_one_machine_exists() {
    for folder in List::read().machines {
        assert!(folder.is_dir(), "{}", folder.display());
    }
}
