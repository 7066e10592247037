//! The value that a key has where it is left out, from the code that gives it.

use syn::{Expr, Lit, UnOp};

use super::schema::{Absent, renamed, snake_case};
use super::source::{Kind, Place, Source, Type};

/// Of a struct with `#[serde(default)]`.
pub fn of_field(source: &Source, ty: &Type, field: &str, field_type: &syn::Type) -> Absent {
    let Some((place, made)) = source.value(ty.place, &format!("{}::default", ty.name)) else {
        // Derived.
        return of_type(source, ty.place, field_type);
    };
    let Expr::Struct(made) = made else {
        panic!("{}::default: write it as one struct literal", ty.name)
    };
    let given =
        made.fields.iter().find(|f| matches!(&f.member, syn::Member::Named(n) if n == field));
    match given {
        Some(given) => absent(source, place, &given.expr, field_type),
        None => of_type(source, ty.place, field_type),
    }
}

/// Of `#[serde(default = "function")]`.
pub fn of_function(source: &Source, place: Place, function: &str) -> Absent {
    let (place, made) = source
        .value(place, function)
        .unwrap_or_else(|| panic!("{function}: write its body as one expression"));
    absent(source, place, made, &syn::parse_quote!(()))
}

/// Of `#[serde(default)]` on a field.
pub fn of_type(source: &Source, place: Place, ty: &syn::Type) -> Absent {
    let name = name(ty);
    match name.as_str() {
        "Option" => Absent::Unset,
        "Vec" => Absent::Value("[]".into()),
        "BTreeMap" | "HashMap" => Absent::Value("{}".into()),
        "bool" => Absent::Value("false".into()),
        "String" => Absent::Value("\"\"".into()),
        "f32" | "f64" | "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => Absent::Value("0".into()),
        _ => of_named(source, place, &name),
    }
}

/// Of a type of ours.
fn of_named(source: &Source, place: Place, name: &str) -> Absent {
    let found = source.find(place, name).unwrap_or_else(|| panic!("where is {name}?"));
    match &found.kind {
        Kind::Struct(_) => Absent::Nested,
        Kind::Enum(variants) => {
            let marked =
                variants.iter().find(|v| v.attrs.iter().any(|a| a.path().is_ident("default")));
            let by_hand = source.value(found.place, &format!("{name}::default")).is_some();
            match marked {
                Some(marked) => {
                    Absent::Value(format!("\"{}\"", variant(found, &marked.ident.to_string())))
                }
                // One with options: the key says which.
                None if by_hand => Absent::Said,
                None => panic!("{name} has no default"),
            }
        }
    }
}

fn name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(p) => p.path.segments.last().map(|s| s.ident.to_string()),
        _ => None,
    }
    .unwrap_or_default()
}

/// A variant's name in recipes.
fn variant(ty: &Type, variant: &str) -> String {
    let Kind::Enum(variants) = &ty.kind else { return String::new() };
    let found = variants.iter().find(|v| v.ident == variant).expect("a variant of its enum");
    renamed(&found.attrs).unwrap_or_else(|| snake_case(variant))
}

fn absent(source: &Source, place: Place, made: &Expr, ty: &syn::Type) -> Absent {
    match made {
        Expr::Path(p) if p.path.is_ident("None") => Absent::Unset,
        Expr::Call(call) if call.args.is_empty() && path(&call.func).ends_with("::default") => {
            let own = path(&call.func);
            match own.trim_end_matches("::default") {
                "Default" => of_type(source, place, ty),
                name => of_named(source, place, name),
            }
        }
        _ => value(source, place, made).map_or(Absent::Said, Absent::Value),
    }
}

/// An expression as TOML.
fn value(source: &Source, place: Place, made: &Expr) -> Option<String> {
    let list = |items: &mut dyn Iterator<Item = &Expr>| {
        let items: Option<Vec<String>> = items.map(|item| value(source, place, item)).collect();
        Some(format!("[{}]", items?.join(", ")))
    };
    match made {
        Expr::Lit(lit) => literal(&lit.lit),
        Expr::Unary(u) if matches!(u.op, UnOp::Neg(_)) => {
            Some(format!("-{}", value(source, place, &u.expr)?))
        }
        Expr::Paren(p) => value(source, place, &p.expr),
        Expr::Group(g) => value(source, place, &g.expr),
        Expr::Reference(r) => value(source, place, &r.expr),
        Expr::Binary(b) => {
            let side = |e| value(source, place, e)?.parse::<f64>().ok();
            let (left, right) = (side(&b.left)?, side(&b.right)?);
            let result = match b.op {
                syn::BinOp::Shl(_) => left * right.exp2(),
                syn::BinOp::Mul(_) => left * right,
                syn::BinOp::Sub(_) => left - right,
                _ => return None,
            };
            Some(result.to_string())
        }
        Expr::Array(a) => list(&mut a.elems.iter()),
        Expr::Macro(m) if m.mac.path.is_ident("vec") => {
            let items = m.mac.parse_body_with(
                syn::punctuated::Punctuated::<Expr, syn::Token![,]>::parse_terminated,
            );
            list(&mut items.ok()?.iter())
        }
        Expr::MethodCall(call) => match call.method.to_string().as_str() {
            "into" | "to_owned" | "to_string" | "to_vec" | "map" => {
                value(source, place, &call.receiver)
            }
            _ => None,
        },
        Expr::Path(_) => named(source, place, &path(made)),
        Expr::Struct(s) => table(source, place, s),
        Expr::Call(call) => {
            let function = path(&call.func);
            let argument = call.args.first();
            match (function.rsplit("::").next()?, argument) {
                ("Some" | "from", Some(argument)) => value(source, place, argument),
                ("new", None) => Some(if function.starts_with("Vec") { "[]" } else { "{}" }.into()),
                (_, None) => {
                    let (place, made) = source.value(place, &function)?;
                    value(source, place, made)
                }
                _ => choice(source, place, &function, value(source, place, argument?)),
            }
        }
        _ => None,
    }
}

fn literal(lit: &Lit) -> Option<String> {
    Some(match lit {
        Lit::Int(n) => n.base10_digits().to_owned(),
        Lit::Float(x) => {
            let digits = x.base10_digits();
            digits.strip_suffix(".0").unwrap_or(digits).to_owned()
        }
        Lit::Bool(b) => b.value.to_string(),
        Lit::Str(s) => format!("{:?}", s.value()),
        Lit::Char(c) => format!("{:?}", c.value().to_string()),
        _ => return None,
    })
}

/// A constant, or a variant without anything.
fn named(source: &Source, place: Place, path: &str) -> Option<String> {
    if path.ends_with("INFINITY") {
        return Some("inf".into());
    }
    if let Some((place, made)) = source.value(place, path) {
        return value(source, place, made);
    }
    choice(source, place, path, None)
}

/// `Enum::Variant`, with what it holds.
fn choice(source: &Source, place: Place, path: &str, held: Option<String>) -> Option<String> {
    // The detector that fits the task, which a recipe calls "adwin".
    if path == "Watch::Default" {
        return Some("\"adwin\"".into());
    }
    // A function, of which the page shows what a recipe says for it.
    if path == "ScheduleSpec::cosine" {
        return Some(format!("{{ cosine = {{ start = {} }} }}", held?));
    }
    let (own, name) = path.rsplit_once("::")?;
    let found = source.find(place, own)?;
    let Kind::Enum(_) = found.kind else { return None };
    let name = variant(found, name);
    Some(match held {
        Some(held) => format!("{{ {name} = {held} }}"),
        None => format!("\"{name}\""),
    })
}

/// A struct, or a variant with fields: what is given, and not what the rest of it has by default.
fn table(source: &Source, place: Place, made: &syn::ExprStruct) -> Option<String> {
    let mut keys = Vec::new();
    for field in &made.fields {
        let syn::Member::Named(name) = &field.member else { return None };
        if matches!(&field.expr, Expr::Path(p) if p.path.is_ident("None")) {
            continue;
        }
        keys.push(format!("{name} = {}", value(source, place, &field.expr)?));
    }
    let own = segments(&made.path);
    let held = (!keys.is_empty()).then(|| format!("{{ {} }}", keys.join(", ")));
    match own.contains("::") {
        true => choice(source, place, &own, held),
        false => Some(held.unwrap_or_else(|| "{}".into())),
    }
}

/// A string's text.
pub fn string(made: &Expr) -> String {
    match made {
        Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) => text.value(),
        _ => panic!("no string"),
    }
}

fn path(made: &Expr) -> String {
    match made {
        Expr::Path(p) => segments(&p.path),
        _ => String::new(),
    }
}

fn segments(path: &syn::Path) -> String {
    let parts: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
    parts.join("::")
}
