//! Import graph of the files of a crate. Each path in a file is resolved, through `use` and
//! re-exports, to the file that defines the name.
//!
//! Two things count as imports without an import statement. A child module that names an item of
//! its parent imports the parent. An inherent `impl` outside the file of its type is an import in
//! the other direction, because callers of the type call into that file.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::sources::{Crate, Source};

/// Largest number of re-exports followed for one path. It ends cycles of re-exports.
const MAX_HOPS: usize = 16;

/// Names that a file defines and uses.
#[derive(Debug, Default)]
struct Names {
    /// Items that the file defines.
    items: BTreeSet<String>,
    /// Names that `use` imports, with their paths.
    bindings: BTreeMap<String, Vec<String>>,
    /// Paths in `use`, and paths with more than one segment in code and macros.
    paths: BTreeSet<Vec<String>>,
    /// Types with an inherent `impl` in the file.
    inherent: BTreeSet<String>,
    /// Paths that are imported with `*`.
    globs: BTreeSet<Vec<String>>,
    /// Modules with their content in this file.
    inline_modules: BTreeSet<String>,
}

/// Imports: importing file, imported file, imported names.
pub(super) type Edges = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The imports between the files of a crate, and the violations that need no import graph: glob
/// imports, inline modules, and an `impl` outside the file of its type.
pub(super) fn imports(krate: &Crate) -> (Edges, Vec<String>) {
    let files = krate.by_module();
    let names: BTreeMap<&[String], Names> = files.iter().map(|(module, file)| (*module, Names::read(file))).collect();
    let tree = Tree { files: &files, names: &names };
    let (mut edges, mut wrong) = (Edges::new(), Vec::new());
    for (module, own) in &names {
        let from = &files[module].path;
        for path in &own.paths {
            if let Some((to, name)) = tree.resolve(module, path, 0)
                && to != *module
            {
                let to = files[to].path.clone();
                edges.entry(from.clone()).or_default().entry(to).or_default().insert(name);
            }
        }
        for glob in &own.globs {
            if tree.resolve_module(module, glob).is_some() {
                wrong.push(format!("{}/{from}: imports all of {}", krate.name, glob.join("::")));
            }
        }
        for name in &own.inline_modules {
            wrong.push(format!("{}/{from}: mod {name} has no file of its own", krate.name));
        }
        for name in own.inherent.iter().filter(|name| !own.items.contains(*name)) {
            wrong.push(format!("{}/{from}: impl {name} outside the file of the type", krate.name));
        }
    }
    (edges, wrong)
}

/// Import cycles: strongly connected components of more than one file.
pub(super) fn cycles(edges: &Edges) -> Vec<Vec<&str>> {
    let reaches: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|from| (from.as_str(), reachable(edges, from))).collect();
    let mut cycles = Vec::new();
    let mut done = BTreeSet::new();
    for (from, reached) in &reaches {
        if !reached.contains(from) || done.contains(from) {
            continue;
        }
        let cycle: Vec<&str> =
            reached.iter().copied().filter(|to| reaches.get(to).is_some_and(|back| back.contains(from))).collect();
        done.extend(cycle.iter().copied());
        cycles.push(cycle);
    }
    cycles
}

fn reachable<'e>(edges: &'e Edges, from: &'e str) -> BTreeSet<&'e str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        for to in edges.get(next).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(to.as_str()) {
                open.push(to);
            }
        }
    }
    reached
}

/// Module tree of a crate, which resolves paths.
struct Tree<'s> {
    files: &'s BTreeMap<&'s [String], &'s Source>,
    names: &'s BTreeMap<&'s [String], Names>,
}

impl<'s> Tree<'s> {
    /// Module whose file defines the item of a path, and the item's name.
    ///
    /// `None` if the path names a module, or an item of another crate.
    fn resolve(&self, from: &[String], path: &[String], hops: usize) -> Option<(&'s [String], String)> {
        if hops > MAX_HOPS {
            return None;
        }
        let (mut at, mut rest) = self.start(from, path)?;
        while let Some((first, after)) = rest.split_first() {
            if let Some(child) = self.child(at, first) {
                (at, rest) = (child, after);
                continue;
            }
            let names = &self.names[at];
            if names.items.contains(first) {
                return Some((at, first.clone()));
            }
            let bound = names.bindings.get(first)?;
            let full: Vec<String> = bound.iter().chain(after).cloned().collect();
            // A binding of a name to itself (`use x::x` in x) leads to no item.
            return if full == rest && at == from { None } else { self.resolve(at, &full, hops + 1) };
        }
        None
    }

    /// Module that a path names.
    fn resolve_module(&self, from: &[String], path: &[String]) -> Option<&'s [String]> {
        let (at, rest) = self.start(from, path)?;
        rest.iter().try_fold(at, |at, name| self.child(at, name))
    }

    /// Module in which a path starts, and the rest of the path.
    fn start<'p>(&self, from: &[String], path: &'p [String]) -> Option<(&'s [String], &'p [String])> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some((self.module(&[])?, rest)),
            "self" => Some((self.module(from)?, rest)),
            "super" => {
                let mut at = from.split_last()?.1;
                let mut rest = rest;
                while let Some((_, after)) = rest.split_first().filter(|(next, _)| *next == "super") {
                    (at, rest) = (at.split_last()?.1, after);
                }
                Some((self.module(at)?, rest))
            }
            _ => Some((self.module(from)?, path)),
        }
    }

    fn module(&self, path: &[String]) -> Option<&'s [String]> {
        self.files.get_key_value(path).map(|(module, _)| *module)
    }

    fn child(&self, of: &[String], name: &str) -> Option<&'s [String]> {
        let path: Vec<String> = of.iter().cloned().chain([name.to_owned()]).collect();
        self.module(&path)
    }
}

impl Names {
    fn read(file: &Source) -> Self {
        let parsed = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        let mut names = Self::default();
        names.visit_file(&parsed);
        names
    }

    fn add_use(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.add_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => {
                let is_self = name.ident == "self";
                let full = if is_self { before.to_vec() } else { with(&name.ident) };
                self.bind(full.last().expect("a name").clone(), full);
            }
            syn::UseTree::Rename(name) => {
                let full = if name.ident == "self" { before.to_vec() } else { with(&name.ident) };
                self.bind(name.rename.to_string(), full);
            }
            syn::UseTree::Glob(_) => {
                // All items of a module, or all variants of an enum.
                self.globs.insert(before.to_vec());
                self.paths.insert(before.to_vec());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(tree, before)),
        }
    }

    fn bind(&mut self, name: String, path: Vec<String>) {
        self.paths.insert(path.clone());
        self.bindings.insert(name, path);
    }

    /// Adds the paths in the tokens of a macro, which syn does not parse.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_path(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end_path(&mut path);
                    colons = 0;
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.end_path(&mut path);
                    colons = 0;
                }
            }
        }
        self.end_path(&mut path);
    }

    fn end_path(&mut self, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.paths.insert(std::mem::take(path));
        }
        path.clear();
    }
}

fn is_cfg_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if attribute.path().is_ident("cfg") => {
            let text = list.tokens.to_string();
            text == "test" || text.starts_with("any (test") || text.starts_with("any(test")
        }
        _ => false,
    })
}

/// Attributes and name of an item.
fn attributes_and_name(item: &syn::Item) -> (&[syn::Attribute], Option<&syn::Ident>) {
    match item {
        syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        syn::Item::Impl(item) => (&item.attrs, None),
        syn::Item::Mod(item) => (&item.attrs, None),
        syn::Item::Use(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = attributes_and_name(item);
        if is_cfg_test(attributes) {
            return;
        }
        if let Some(name) = name {
            self.items.insert(name.to_string());
        }
        if let syn::Item::Mod(item) = item
            && item.content.is_some()
        {
            self.inline_modules.insert(item.ident.to_string());
        }
        if let syn::Item::Impl(item) = item
            && item.trait_.is_none()
            && let syn::Type::Path(path) = &*item.self_ty
            && let Some(segment) = path.path.segments.last()
        {
            self.inherent.insert(segment.ident.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_cfg_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in path)` imports nothing.
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.add_tokens(list.tokens.clone());
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.add_tokens(called.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(files: &[(&str, &str)]) -> Crate {
        let source = |(path, text): &(&str, &str)| Source {
            path: (*path).to_owned(),
            module: path.trim_end_matches(".rs").split('/').filter(|name| *name != "lib").map(str::to_owned).collect(),
            text: (*text).to_owned(),
        };
        Crate { name: "test", files: files.iter().map(source).collect(), test_files: Vec::new() }
    }

    fn cycles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let (edges, _) = imports(&krate(files));
        cycles(&edges).into_iter().map(|cycle| cycle.into_iter().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn two_files_that_import_each_other_are_a_cycle() {
        let there = ("a.rs", "use crate::b::B; pub struct A(B);");
        let back = ("b.rs", "pub struct B; fn f(_: &super::a::A) {}");
        let cycle = vec![vec!["a.rs".to_owned(), "b.rs".to_owned()]];
        assert_eq!(cycles_of(&[("lib.rs", "mod a; mod b;"), there, back]), cycle);
        let in_a_macro = ("b.rs", "pub struct B; fn f() { println!(\"{:?}\", crate::a::A::new()); }");
        assert_eq!(cycles_of(&[("lib.rs", "mod a; mod b;"), there, in_a_macro]), cycle);
        let through_a_module = ("b.rs", "use crate::a; pub struct B; fn f(_: &a::A) {}");
        assert_eq!(cycles_of(&[("lib.rs", "mod a; mod b;"), there, through_a_module]), cycle);
        assert_eq!(
            cycles_of(&[("lib.rs", "mod a; mod b;"), there, ("b.rs", "pub struct B;")]),
            Vec::<Vec<String>>::new()
        );
    }

    #[test]
    fn a_re_export_is_resolved_to_the_file_that_defines_the_name() {
        let files = [
            ("lib.rs", "mod f; mod g;"),
            ("f.rs", "mod x; mod y; pub use x::X;"),
            ("f/x.rs", "pub struct X;"),
            ("f/y.rs", "use super::X;"),
            ("g.rs", "use crate::f::X;"),
        ];
        let (edges, wrong) = imports(&krate(&files));
        assert!(edges["f/y.rs"].contains_key("f/x.rs") && !edges["f/y.rs"].contains_key("f.rs"));
        assert!(edges["g.rs"].contains_key("f/x.rs"));
        assert!(cycles(&edges).is_empty() && wrong.is_empty());
    }

    #[test]
    fn a_child_that_names_an_item_of_its_parent_is_a_cycle_if_the_parent_names_the_child() {
        let files = [
            ("lib.rs", "mod f;"),
            ("f.rs", "mod x; use x::X; pub struct F(X);"),
            ("f/x.rs", "use super::F; pub struct X;"),
        ];
        assert_eq!(cycles_of(&files), [["f.rs", "f/x.rs"]]);
        let alone = [("lib.rs", "mod f;"), ("f.rs", "mod x; pub struct F;"), ("f/x.rs", "use super::F; pub struct X;")];
        assert!(cycles_of(&alone).is_empty());
    }

    #[test]
    fn an_impl_outside_the_file_of_its_type_and_a_glob_import_are_reported() {
        let files =
            [("lib.rs", "mod a; mod b;"), ("a.rs", "pub struct A;"), ("b.rs", "use crate::a::*; impl A { fn f() {} }")];
        let (_, wrong) = imports(&krate(&files));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn paths_in_attributes_and_enum_variants_count_as_imports() {
        let there = ("a.rs", "use crate::b::B; pub struct A(B); pub enum Kind { One }");
        let lib = ("lib.rs", "mod a; mod b;");
        for back in [
            "pub struct B; fn f() { use crate::a::Kind::*; }",
            "pub struct B; #[arg(value_parser = crate::a::Kind::read)] struct C;",
        ] {
            assert_eq!(cycles_of(&[lib, there, ("b.rs", back)]), [["a.rs", "b.rs"]], "{back}");
        }
    }

    #[test]
    fn an_inline_module_is_reported() {
        let (_, wrong) = imports(&krate(&[("lib.rs", "mod a { pub struct A; }")]));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }

    #[test]
    fn test_modules_do_not_count() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ];
        assert!(cycles_of(&files).is_empty());
    }
}
