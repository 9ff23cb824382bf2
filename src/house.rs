//! Whether the arrows between modules point down the list in CONTRIBUTING.md, and
//! no files depend on each other in a circle.
//!
//! It reads the source, without what is compiled for tests alone.

mod docs;
mod public;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// A module's path below the crate, such as `["protocol", "lock"]`.
type Module = Vec<String>;

/// Every module that is not for tests alone, with its file.
#[derive(Default)]
struct House {
    files: BTreeMap<Module, PathBuf>,
    /// Which files each file names.
    arrows: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    sources: Vec<(Module, PathBuf, syn::File)>,
}

impl House {
    fn read() -> Self {
        let mut house = Self::default();
        house.enter(Vec::new(), Path::new("src/lib.rs").to_owned());
        for (module, path, source) in std::mem::take(&mut house.sources) {
            let mut names = Names { inside: vec![module], found: BTreeSet::new() };
            names.visit_file(&source);
            let named = names.found.iter().filter_map(|name| house.file_of(name));
            let named = named.filter(|file| *file != path).collect();
            house.arrows.insert(path, named);
        }
        // The root exports everything; nothing below it may name it.
        house.arrows.remove(Path::new("src/lib.rs"));
        house
    }

    fn enter(&mut self, module: Module, path: PathBuf) {
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
                && !is_test(&inner.attrs)
            {
                let name = inner.ident.to_string();
                let flat = folder.join(format!("{name}.rs"));
                let file = if flat.exists() { flat } else { folder.join(&name).join("mod.rs") };
                self.enter([&module[..], &[name]].concat(), file);
            }
        }
        self.files.insert(module.clone(), path.clone());
        self.sources.push((module, path, source));
    }

    /// The file in which the named thing is, or that exports it.
    fn file_of(&self, name: &[String]) -> Option<PathBuf> {
        (0..=name.len()).rev().find_map(|length| self.files.get(&name[..length])).cloned()
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
    found: BTreeSet<Module>,
}

impl Names {
    fn note(&mut self, path: &[String]) {
        let Some(module) = self.inside.last() else { return };
        let ups = path.iter().take_while(|part| *part == "super").count();
        let name = match path.first().map(String::as_str) {
            Some("crate") => path[1..].to_vec(),
            Some("self") => [&module[..], &path[1..]].concat(),
            Some("super") => [&module[..module.len() - ups], &path[ups..]].concat(),
            _ => return,
        };
        self.found.insert(name);
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.note(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(before, tree));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.note(&parts);
        visit::visit_path(self, path);
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
    for (from, named) in &house.arrows {
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
fn every_folder_that_is_listed_as_one_machine_exists() {
    for folder in List::read().machines {
        assert!(folder.is_dir(), "{}", folder.display());
    }
}

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

/// The names of the types that a type contains.
#[derive(Default)]
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.0.push(segment.ident.to_string());
        visit::visit_path_segment(self, segment);
    }
}

#[test]
fn a_field_that_is_named_like_a_secret_has_a_type_that_prints_none() {
    const QUIET: [&str; 3] = ["Secret", "HeaderValue", "PathBuf"];
    let mut house = House::default();
    house.enter(Vec::new(), Path::new("src/lib.rs").to_owned());
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
