//! What serde reads for a type: the keys of a table, or the choices of an enum.

use syn::{Attribute, Expr, GenericArgument, Lit, Meta, PathArguments};

use super::defaults;
use super::source::{Kind, Place, Source, Type};

/// A type that a recipe's value can have.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Said in words: `number`, `string`.
    Words(String),
    /// A type with a section of its own.
    Named(Place, String),
    Array(Box<Shape>),
    /// A table whose keys the user names.
    Map(Box<Shape>),
    /// Any of these.
    Or(Vec<Shape>),
}

/// A key of a table.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub aliases: Vec<String>,
    pub shape: Shape,
    pub absent: Absent,
    pub doc: String,
}

/// What holds where a key is left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Absent {
    /// That is a mistake.
    Required,
    /// Nothing; the meaning says what that means.
    Unset,
    /// What no single value shows; the meaning says it.
    Said,
    /// This value, as TOML has it.
    Value(String),
    /// The table that all defaults make.
    Nested,
}

/// A choice of an enum.
#[derive(Clone, Debug)]
pub struct Choice {
    pub name: String,
    pub aliases: Vec<String>,
    pub doc: String,
    pub body: Body,
}

/// What comes with a choice.
#[derive(Clone, Debug)]
pub enum Body {
    /// Its name is all.
    Name,
    /// `{ name = VALUE }`
    Value(Shape),
    /// `{ name = { keys } }`
    Table(Vec<Key>),
}

/// A type as a recipe writes it.
#[derive(Clone, Debug)]
pub enum Form {
    Table(Vec<Key>),
    /// `by_name` if a name alone stands for a table with all defaults, `number` if a number does for
    /// the first choice.
    Choice {
        choices: Vec<Choice>,
        by_name: bool,
        number: bool,
    },
    /// As its deserializer says.
    Words,
}

/// The form of a type.
pub fn form(source: &Source, ty: &Type) -> Form {
    if words(source, ty).is_some() {
        return Form::Words;
    }
    let serde = Serde::of(&ty.attributes);
    match &ty.kind {
        Kind::Struct(fields) => Form::Table(keys(source, ty, fields, serde.default.is_some())),
        Kind::Enum(variants) if serde.try_from => {
            // Read from a string by a constant list of names, in the order of the variants.
            let names = source.value(ty.place, &format!("{}::NAMES", ty.name));
            let Some((_, Expr::Array(names))) = names else {
                panic!("{} is read from a string and has no NAMES", ty.name)
            };
            let choices = names.elems.iter().zip(variants).map(|(name, v)| Choice {
                name: defaults::string(name),
                aliases: Vec::new(),
                doc: doc(&v.attrs),
                body: Body::Name,
            });
            Form::Choice { choices: choices.collect(), by_name: false, number: false }
        }
        Kind::Enum(variants) => {
            assert!(serde.snake_case, "{}: only snake_case is known", ty.name);
            let read = variants.iter().filter(|v| !Serde::of(&v.attrs).skip);
            let choices = read.map(|v| choice(source, ty, v)).collect();
            // The last two are read by hand where they stand: see `with`.
            let by_name = serde.remote || ["DetectorSpec", "Action"].contains(&ty.name.as_str());
            Form::Choice { choices, by_name, number: source.takes_number(&ty.name) }
        }
    }
}

/// What a type is that needs no section of its own.
fn words(source: &Source, ty: &Type) -> Option<String> {
    let serde = Serde::of(&ty.attributes);
    if serde.untagged {
        return Some(serde.expecting.unwrap_or_else(|| untagged(source, ty)));
    }
    if derives(&ty.attributes) {
        return None;
    }
    match source.expecting(ty.place) {
        Some(words) => Some(words.to_owned()),
        None => panic!("{}: how does a recipe write it? Teach schema.rs", ty.name),
    }
}

fn untagged(source: &Source, ty: &Type) -> String {
    let Kind::Enum(variants) = &ty.kind else { return String::new() };
    let shapes = variants.iter().flat_map(|v| &v.fields);
    let words = shapes.map(|f| match shape(source, ty.place, &f.ty) {
        Shape::Words(words) => words,
        other => panic!("{}: untagged {other:?}", ty.name),
    });
    words.collect::<Vec<_>>().join(" or ")
}

fn choice(source: &Source, ty: &Type, v: &syn::Variant) -> Choice {
    let own = Serde::of(&v.attrs);
    let mut more = String::new();
    let body = match &v.fields {
        syn::Fields::Unit => Body::Name,
        syn::Fields::Named(fields) => {
            let fields: Vec<syn::Field> = fields.named.iter().cloned().collect();
            Body::Table(keys(source, ty, &fields, false))
        }
        syn::Fields::Unnamed(fields) => {
            let field = &fields.unnamed[0];
            let serde = Serde::of(&field.attrs);
            let shape =
                with(&serde, ty.place).unwrap_or_else(|| shape(source, ty.place, &field.ty));
            let inner = match &shape {
                Shape::Named(place, name) => source.find(*place, name),
                _ => None,
            };
            match inner.filter(|inner| matches!(inner.kind, Kind::Struct(_))) {
                Some(inner) => {
                    more = beyond(&doc(&inner.attributes));
                    match form(source, inner) {
                        Form::Table(keys) => Body::Table(keys),
                        _ => Body::Value(shape),
                    }
                }
                None => Body::Value(shape),
            }
        }
    };
    Choice {
        name: own.rename.unwrap_or_else(|| snake_case(&v.ident.to_string())),
        aliases: own.aliases,
        doc: [doc(&v.attrs), more].join(" ").trim().to_owned(),
        body,
    }
}

/// What the doc comment of a variant's struct says beyond its first words, which are the variant's.
fn beyond(doc: &str) -> String {
    match doc.split_once(". ") {
        None => String::new(),
        Some((first, rest)) if first.starts_with("Options of ") => rest.to_owned(),
        Some(_) => doc.to_owned(),
    }
}

fn keys(source: &Source, ty: &Type, fields: &[syn::Field], all_default: bool) -> Vec<Key> {
    let mut keys = Vec::new();
    for field in fields {
        let serde = Serde::of(&field.attrs);
        if serde.skip {
            continue;
        }
        let ident = field.ident.as_ref().expect("a recipe's tables have named fields").to_string();
        let absent = match (&serde.default, all_default) {
            (None, true) => defaults::of_field(source, ty, &ident, &field.ty),
            // What stands for nothing where the type has to hold something.
            (Some(Some(function)), _)
                if function.starts_with("no_") || function.ends_with("::none") =>
            {
                Absent::Unset
            }
            (Some(Some(function)), _) => defaults::of_function(source, ty.place, function),
            (Some(None), _) => defaults::of_type(source, ty.place, &field.ty),
            // serde takes an absent Option as None, unless it is read by a function.
            (None, false) if is_option(&field.ty) && serde.with.is_none() => Absent::Unset,
            (None, false) => Absent::Required,
        };
        keys.push(Key {
            name: serde.rename.clone().unwrap_or(ident),
            shape: with(&serde, ty.place).unwrap_or_else(|| shape(source, ty.place, &field.ty)),
            aliases: serde.aliases,
            absent,
            doc: doc(&field.attrs),
        });
    }
    keys
}

/// The forms that hand-written functions read.
fn with(serde: &Serde, place: Place) -> Option<Shape> {
    let words = |text: &str| Some(Shape::Words(text.to_owned()));
    match serde.with.as_deref()? {
        "count" => words("positive integer"),
        "pair" | "optional_pair" => words("positive integer, or [rows, columns]"),
        // `online.drift.detector` and `online.drift.action`; their types are in that file.
        "named" => Some(Shape::Or(vec![
            Shape::Words("`\"none\"`".into()),
            Shape::Named(place, "DetectorSpec".into()),
        ])),
        "one_or_more" => {
            let action = Shape::Named(place, "Action".into());
            Some(Shape::Or(vec![action.clone(), Shape::Array(Box::new(action))]))
        }
        other => panic!("deserialize_with = {other:?}: what does it read? Teach schema.rs"),
    }
}

/// The shape of a field's type.
pub fn shape(source: &Source, place: Place, ty: &syn::Type) -> Shape {
    let words = |text: &str| Shape::Words(text.to_owned());
    let path = match ty {
        syn::Type::Path(path) => &path.path,
        syn::Type::Array(array) => {
            return Shape::Array(Box::new(shape(source, place, &array.elem)));
        }
        _ => panic!("a type that no recipe has"),
    };
    let last = path.segments.last().expect("a path has a last part");
    let inner = |i: usize| match &last.arguments {
        PathArguments::AngleBracketed(a) => match &a.args[i] {
            GenericArgument::Type(ty) => shape(source, place, ty),
            _ => panic!("a type that no recipe has"),
        },
        _ => panic!("a type that no recipe has"),
    };
    match last.ident.to_string().as_str() {
        "Option" => inner(0),
        "Vec" => Shape::Array(Box::new(inner(0))),
        "BTreeMap" | "HashMap" => Shape::Map(Box::new(inner(1))),
        "bool" => words("`true` or `false`"),
        "String" => words("string"),
        "char" => words("one character"),
        "f32" | "f64" => words("number"),
        "u8" | "u16" | "u32" | "u64" | "usize" => words("whole number"),
        "i32" | "i64" => words("integer"),
        name => {
            let found = source.find(place, name).unwrap_or_else(|| panic!("where is {name}?"));
            match self::words(source, found) {
                Some(words) => Shape::Words(words),
                None => Shape::Named(found.place, name.to_owned()),
            }
        }
    }
}

fn is_option(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Path(p) if p.path.segments.last().is_some_and(|s| s.ident == "Option"))
}

/// Whether serde derives how it is read.
fn derives(attributes: &[Attribute]) -> bool {
    let mut found = false;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("derive")) {
        let parsed = attribute.parse_nested_meta(|meta| {
            found |= meta.path.segments.last().is_some_and(|s| s.ident == "Deserialize");
            Ok(())
        });
        parsed.expect("a derive is a list");
    }
    found
}

/// The serde attributes of an item.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    aliases: Vec<String>,
    /// `default`, or `default = "function"`.
    default: Option<Option<String>>,
    with: Option<String>,
    skip: bool,
    untagged: bool,
    remote: bool,
    snake_case: bool,
    expecting: Option<String>,
    try_from: bool,
}

impl Serde {
    fn of(attributes: &[Attribute]) -> Serde {
        let mut serde = Serde::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
            let parsed = attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                let value = match meta.value() {
                    Ok(value) => Some(value.parse::<syn::LitStr>()?.value()),
                    Err(_) => None,
                };
                serde.set(&name, value);
                Ok(())
            });
            parsed.expect("serde attributes are names with strings");
        }
        serde
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        match name {
            "rename" => self.rename = value,
            "alias" => self.aliases.extend(value),
            "default" => self.default = Some(value),
            "deserialize_with" => self.with = value,
            // Also what is for Rust alone, such as custom layers.
            "skip" | "skip_deserializing" => self.skip = true,
            "untagged" => self.untagged = true,
            "remote" => self.remote = true,
            "rename_all" => self.snake_case = value.as_deref() == Some("snake_case"),
            "expecting" => self.expecting = value,
            "try_from" => self.try_from = true,
            // They say nothing about what is read.
            "deny_unknown_fields" | "skip_serializing_if" | "serialize_with" | "into" => {}
            other => panic!("serde({other}): what does it read? Teach schema.rs"),
        }
    }
}

/// The doc comment as one paragraph a line.
pub fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|a| match &a.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => Some(text(&pair.value)),
        _ => None,
    });
    let lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    let paragraphs = lines.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n").trim().to_owned()
}

/// A doc's text: a string, or `concat!` of some.
fn text(value: &Expr) -> String {
    match value {
        Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) => text.value(),
        Expr::Macro(call) if call.mac.path.is_ident("concat") => {
            let parts = call.mac.parse_body_with(
                syn::punctuated::Punctuated::<Expr, syn::Token![,]>::parse_terminated,
            );
            parts.expect("concat! of expressions").iter().map(text).collect()
        }
        Expr::Macro(call) if call.mac.path.is_ident("stringify") => call.mac.tokens.to_string(),
        other => panic!("a doc comment of {other:?}"),
    }
}

/// As serde's `rename_all = "snake_case"`.
pub fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The name that serde's `rename` gives.
pub fn renamed(attributes: &[Attribute]) -> Option<String> {
    Serde::of(attributes).rename
}
