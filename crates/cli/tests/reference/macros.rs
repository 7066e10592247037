//! Expands the one macro that writes a recipe's structs: `optimizer!` of `crates/nn`.

use std::collections::HashMap;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, Ident, Lit, Token, Type};

/// What a macro variable stands for.
#[derive(Clone)]
enum Bound {
    One(TokenStream),
    Each(Vec<HashMap<String, Bound>>),
}

type Bindings = HashMap<String, Bound>;

/// The items that `call` expands to with the transcriber of `definition`.
pub fn expand(definition: &syn::Macro, call: &syn::Macro) -> syn::Result<syn::File> {
    let bindings = syn::parse2::<Call>(call.tokens.clone())?.0;
    // `(pattern) => { transcriber };`
    let groups = definition.tokens.clone().into_iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(group.stream()),
        _ => None,
    });
    let transcriber = groups.last().expect("a macro has a transcriber");
    syn::parse2(transcribe(transcriber, &bindings))
}

/// The arguments of `optimizer!`, in the order of its pattern.
struct Call(Bindings);

impl Parse for Call {
    fn parse(input: ParseStream<'_>) -> syn::Result<Call> {
        let mut all = Bindings::new();
        all.insert("doc".into(), docs(&input.call(Attribute::parse_outer)?, "doc"));
        all.insert("name".into(), one(input.parse::<Ident>()?));
        input.parse::<Token![,]>()?;
        input.parse::<Ident>()?;
        all.insert("rate".into(), one(input.parse::<Lit>()?));
        input.parse::<Token![,]>()?;
        input.parse::<Ident>()?;
        all.insert("decay".into(), one(input.parse::<Lit>()?));
        all.insert("kind".into(), one(input.parse::<Ident>()?));
        input.parse::<Token![;]>()?;
        let mut fields = Vec::new();
        while !input.is_empty() {
            let mut field = Bindings::new();
            let attributes = input.call(Attribute::parse_outer)?;
            field.insert("field_doc".into(), docs(&attributes, "field_doc"));
            field.insert("field".into(), one(input.parse::<Ident>()?));
            input.parse::<Token![:]>()?;
            field.insert("type".into(), one(input.parse::<Type>()?));
            input.parse::<Token![=]>()?;
            field.insert("default".into(), one(input.parse::<Expr>()?));
            input.parse::<Token![,]>()?;
            fields.push(field);
        }
        all.insert("field".into(), Bound::Each(fields));
        Ok(Call(all))
    }
}

fn one(tokens: impl quote::ToTokens) -> Bound {
    Bound::One(tokens.to_token_stream())
}

/// What `#[$doc]` stands for: the inside of each attribute.
fn docs(attributes: &[Attribute], name: &str) -> Bound {
    let each = attributes.iter().map(|a| HashMap::from([(name.to_owned(), one(&a.meta))]));
    Bound::Each(each.collect())
}

/// Puts the bindings in the places of `$name` and `$( ... ) separator op`.
fn transcribe(tokens: TokenStream, bindings: &Bindings) -> TokenStream {
    let mut out = TokenStream::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(p) if p.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Ident(name)) => match bindings.get(&name.to_string()) {
                    Some(Bound::One(bound)) => out.extend(bound.clone()),
                    _ => panic!("${name} is not bound here"),
                },
                Some(TokenTree::Group(group)) => {
                    // The `*` after it; no repetition here has a separator.
                    tokens.next();
                    for row in rows(&group, bindings) {
                        let mut inner = bindings.clone();
                        inner.extend(row);
                        out.extend(transcribe(group.stream(), &inner));
                    }
                }
                other => panic!("what is ${other:?}?"),
            },
            TokenTree::Group(group) => {
                let inner = transcribe(group.stream(), bindings);
                out.extend([TokenTree::Group(Group::new(group.delimiter(), inner))]);
            }
            token => out.extend([token]),
        }
    }
    out
}

/// The rows that a repetition goes over: those of the first repeated variable in it.
fn rows(group: &Group, bindings: &Bindings) -> Vec<Bindings> {
    let mut names = Vec::new();
    collect(group.stream(), &mut names);
    let each = names.iter().find_map(|name| match bindings.get(name) {
        Some(Bound::Each(rows)) => Some(rows.clone()),
        _ => None,
    });
    each.unwrap_or_else(|| panic!("nothing repeats in $({group})*"))
}

fn collect(tokens: TokenStream, names: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match (&token, tokens.peek()) {
            (TokenTree::Punct(p), Some(TokenTree::Ident(name))) if p.as_char() == '$' => {
                names.push(name.to_string());
            }
            (TokenTree::Group(group), _) if group.delimiter() != Delimiter::None => {
                collect(group.stream(), names);
            }
            _ => {}
        }
    }
}
