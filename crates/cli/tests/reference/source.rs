//! The source of all crates, parsed: types, functions and defaults by name.
//!
//! Types are found by name wherever they are, so that moving a file or a crate changes nothing here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use syn::{Attribute, Expr, Item, UseTree};

use super::macros;

/// The place of an item: `nn`, and the number of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: usize,
}

/// A struct or an enum.
#[derive(Clone)]
pub struct Type {
    pub place: Place,
    pub name: String,
    pub attributes: Vec<Attribute>,
    pub kind: Kind,
}

#[derive(Clone)]
pub enum Kind {
    Struct(Vec<syn::Field>),
    Enum(Vec<syn::Variant>),
}

/// A parsed file.
pub struct File {
    path: PathBuf,
    krate: String,
    /// The first part of the path that each name is imported by.
    imports: HashMap<String, String>,
    /// Free functions, `Type::function`s and constants by name.
    values: HashMap<String, Expr>,
    /// What `write_str` says in `expecting`.
    expecting: Vec<String>,
}

/// All crates.
pub struct Source {
    files: Vec<File>,
    types: BTreeMap<String, Vec<Type>>,
    /// The types that `name_or_table!` also reads from a number.
    numbers: HashSet<String>,
}

impl Source {
    /// Parses `crates/*/src`.
    pub fn read(crates: &Path) -> Source {
        let mut source =
            Source { files: Vec::new(), types: BTreeMap::new(), numbers: HashSet::new() };
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(crates).unwrap().map(|e| e.unwrap().path()).collect();
        folders.sort();
        for folder in folders {
            let krate = folder.file_name().unwrap().to_string_lossy().replace('-', "_");
            source.walk(&folder.join("src"), &krate);
        }
        source
    }

    fn walk(&mut self, folder: &Path, krate: &str) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.walk(&path, krate);
            } else if path.extension().is_some_and(|e| e == "rs") {
                self.add(&path, krate);
            }
        }
    }

    fn add(&mut self, path: &Path, krate: &str) {
        let text = std::fs::read_to_string(path).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let place = Place { file: self.files.len() };
        self.files.push(File {
            path: path.to_owned(),
            krate: krate.to_owned(),
            imports: HashMap::new(),
            values: HashMap::new(),
            expecting: text
                .split("f.write_str(\"")
                .skip(1)
                .filter_map(|rest| Some(rest.split("\")").next()?.replace("\\\"", "\"")))
                .collect(),
        });
        self.items(place, parsed.items);
    }

    fn items(&mut self, place: Place, items: Vec<Item>) {
        let named = |items: &[Item], call: &syn::Macro| {
            items.iter().find_map(|item| match item {
                Item::Macro(m)
                    if m.ident.as_ref() == call.path.get_ident() && m.ident.is_some() =>
                {
                    Some(m.mac.clone())
                }
                _ => None,
            })
        };
        for item in &items {
            match item {
                Item::Struct(s) => {
                    let fields = s.fields.iter().cloned().collect();
                    self.add_type(place, &s.ident, &s.attrs, Kind::Struct(fields));
                }
                Item::Enum(e) => {
                    let variants = e.variants.iter().cloned().collect();
                    self.add_type(place, &e.ident, &e.attrs, Kind::Enum(variants));
                }
                Item::Use(u) => imports(&u.tree, None, &mut self.files[place.file].imports),
                Item::Fn(f) => self.add_value(place, f.sig.ident.to_string(), tail(&f.block)),
                Item::Const(c) => {
                    self.add_value(place, c.ident.to_string(), Some((*c.expr).clone()));
                }
                Item::Impl(i) => self.add_impl(place, i),
                Item::Macro(m) if m.ident.is_none() && m.mac.path.is_ident("optimizer") => {
                    let definition = named(&items, &m.mac).expect("optimizer! is in its file");
                    let expanded = macros::expand(&definition, &m.mac).unwrap();
                    self.items(place, expanded.items);
                }
                Item::Macro(m) if m.mac.path.is_ident("name_or_table") => {
                    let words: Vec<String> =
                        m.mac.tokens.clone().into_iter().map(|t| t.to_string()).collect();
                    if words.iter().any(|word| word == "number") {
                        self.numbers.insert(words[0].clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a number stands for a value of the type.
    pub fn takes_number(&self, name: &str) -> bool {
        self.numbers.contains(name)
    }

    /// The place of the only type of this name.
    pub fn place_of(&self, name: &str) -> Place {
        match &self.types.get(name).map(Vec::as_slice) {
            Some([one]) => one.place,
            _ => panic!("there must be one {name}"),
        }
    }

    fn add_type(&mut self, place: Place, name: &syn::Ident, attributes: &[Attribute], kind: Kind) {
        let (name, attributes) = (name.to_string(), attributes.to_vec());
        let found = Type { place, name: name.clone(), attributes, kind };
        self.types.entry(name).or_default().push(found);
    }

    fn add_value(&mut self, place: Place, name: String, value: Option<Expr>) {
        if let Some(value) = value {
            self.files[place.file].values.insert(name, value);
        }
    }

    fn add_impl(&mut self, place: Place, item: &syn::ItemImpl) {
        let syn::Type::Path(own) = &*item.self_ty else { return };
        let Some(own) = own.path.segments.last() else { return };
        for item in &item.items {
            match item {
                syn::ImplItem::Fn(f) => {
                    let name = format!("{}::{}", own.ident, f.sig.ident);
                    self.add_value(place, name, tail(&f.block));
                }
                syn::ImplItem::Const(c) => {
                    let name = format!("{}::{}", own.ident, c.ident);
                    self.add_value(place, name, Some(c.expr.clone()));
                }
                _ => {}
            }
        }
    }

    /// The type that `name` means at `place`, if a recipe can hold it.
    pub fn find(&self, place: Place, name: &str) -> Option<&Type> {
        let all = self.types.get(name)?;
        let file = &self.files[place.file];
        if let Some(found) = all.iter().find(|t| t.place == place) {
            return Some(found);
        }
        let from = match file.imports.get(name).map(String::as_str) {
            Some("crate" | "super" | "self") | None => file.krate.clone(),
            Some(krate) => krate.trim_start_matches("tidemill_").to_owned(),
        };
        let near: Vec<_> = all.iter().filter(|t| self.files[t.place.file].krate == from).collect();
        let choice = if near.is_empty() { all.iter().collect() } else { near };
        match choice[..] {
            [one] => Some(one),
            _ => {
                let places = choice.iter().map(|t| self.files[t.place.file].path.display());
                let places: Vec<String> = places.map(|p| p.to_string()).collect();
                panic!(
                    "{}: which {name}? {}; import it by its crate's name",
                    file.path.display(),
                    places.join(" or ")
                );
            }
        }
    }

    /// A function's tail expression, or a constant's value: of this place, or the type's own.
    pub fn value(&self, place: Place, name: &str) -> Option<(Place, &Expr)> {
        if let Some(value) = self.files[place.file].values.get(name) {
            return Some((place, value));
        }
        let (own, _) = name.split_once("::")?;
        let place = self.find(place, own)?.place;
        Some((place, self.files[place.file].values.get(name)?))
    }

    /// What the hand-written deserializers of a file accept, in their own words.
    pub fn expecting(&self, place: Place) -> Option<&str> {
        match &self.files[place.file].expecting[..] {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// The last expression of a body, if the body has nothing else.
fn tail(block: &syn::Block) -> Option<Expr> {
    match &block.stmts[..] {
        [syn::Stmt::Expr(expression, None)] => Some(expression.clone()),
        _ => None,
    }
}

fn imports(tree: &UseTree, root: Option<&str>, found: &mut HashMap<String, String>) {
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            imports(&path.tree, Some(root.unwrap_or(&first)), found);
        }
        UseTree::Name(name) => {
            found.insert(name.ident.to_string(), root.unwrap_or_default().to_owned());
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| imports(tree, root, found)),
        UseTree::Rename(_) | UseTree::Glob(_) => {}
    }
}
