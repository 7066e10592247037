//! `docs/recipe-reference.md` is what the code says: every key of a recipe with its type, its default
//! and its meaning. The page is written from the source of the specs by
//!
//!     TIDEMILL_WRITE_DOCS=1 cargo test -p tidemill-cli --release --test reference
//!
//! and is compared with it otherwise. What it lists is also compared with what the program itself says
//! it takes.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "reference/defaults.rs"]
mod defaults;
#[path = "reference/macros.rs"]
mod macros;
#[path = "reference/page.rs"]
mod page;
#[path = "reference/prose.rs"]
mod prose;
#[path = "reference/schema.rs"]
mod schema;
#[path = "reference/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use common::{stderr, text, tidemill};
use page::{Names, Step};

const HEAD: &str = "\
# Recipe reference

Every key of a recipe, with its type, its default and its meaning. [Recipes](recipes.md) explains how
recipes are written and where to start.

This page is generated from the source of the program, and a test compares it with that source. Do not
edit it: change the doc comment of the key, then run
`TIDEMILL_WRITE_DOCS=1 cargo test -p tidemill-cli --release --test reference`.

";

fn reference() -> (String, Vec<Names>) {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = source::Source::read(&crates);
    let (page, names) = page::page(&source);
    (format!("{HEAD}{page}"), names)
}

#[test]
fn the_page_is_what_the_code_says() {
    let (page, _) = reference();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipe-reference.md");
    if std::env::var_os("TIDEMILL_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(a, b)| a != b);
    assert!(
        page == written,
        "docs/recipe-reference.md is out of date; rewrite it with TIDEMILL_WRITE_DOCS=1 cargo test -p \
         tidemill-cli --release --test reference\n{differs:?}"
    );
}

#[test]
fn the_program_takes_the_names_of_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let (_, all) = reference();
    assert!(all.len() > 60, "{} places", all.len());
    for Names { path, names } in all {
        // A name that no place has, as a key and as a string: the program answers with those that it
        // knows there.
        let unknown = "q".repeat(40);
        let forms = [format!("{{ {unknown} = 1 }}"), format!("\"{unknown}\"")];
        let answers = forms.iter().map(|form| {
            let table = match path.is_empty() {
                true => format!("{unknown} = 1"),
                false => document(&path, form),
            };
            std::fs::write(&recipe, &table).unwrap();
            stderr(&tidemill(&["explain", text(&recipe)]))
        });
        let answers: Vec<String> = answers.collect();
        let Some(known) = answers.iter().find_map(|said| known(said.trim())) else {
            panic!("{path:?}: {answers:?}")
        };
        let known: BTreeSet<String> = known.split(", ").map(str::to_owned).collect();
        assert_eq!(known, names, "{path:?}: {answers:?}");
    }
}

/// The names that an answer lists.
fn known(said: &str) -> Option<&str> {
    let listed = said.rsplit_once("known here: ").map(|(_, names)| names);
    listed.or_else(|| said.split_once("must be one of ")?.1.split(", found ").next())
}

/// A recipe that has `value` at a place and nothing else.
fn document(path: &[Step], value: &str) -> String {
    let inner = path[1..].iter().rev().fold(value.to_owned(), |inner, step| match step {
        Step::Key(key) => format!("{{ {key} = {inner} }}"),
        Step::Item => format!("[ {inner} ]"),
    });
    match &path[0] {
        Step::Key(key) => format!("{key} = {inner}\n"),
        Step::Item => unreachable!("a recipe is a table"),
    }
}
