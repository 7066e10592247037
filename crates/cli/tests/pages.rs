//! README.md and the pages in `docs/` are true: every command that they show runs as written, every
//! recipe is one, what they print is what is shown, and every link leads somewhere.
//!
//! A `sh` block is run, in order with the others of its page, in a folder like a fresh clone, unless a
//! comment before it says otherwise: `<!-- not run: REASON -->`, `<!-- fails: STATUS -->` for one that shows a
//! mistake, or `<!-- needs: shared data, curl -->` for what may be missing. A `text` block right after it is its output, with other digits; `...` stands
//! for any lines. A `toml` block is a recipe, or a part that is added to one.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "pages/blocks.rs"]
mod blocks;
mod common;
#[path = "pages/links.rs"]
mod links;
#[path = "pages/shell.rs"]
mod shell;

use std::path::Path;

use blocks::{Block, blocks, name, pages, root};
use common::{stderr, text, tidemill};

/// A test for each page with commands, so that they run side by side.
macro_rules! run {
    ($($test:ident: $page:literal,)*) => {
        $(#[test]
        fn $test() {
            check(&root().join($page));
        })*

        /// The pages that are run.
        const RUN: &[&str] = &[$($page),*];
    };
}
run! {
    readme: "README.md",
    audio: "docs/audio.md",
    speech: "docs/speech.md",
    batch_or_online: "docs/batch-or-online.md",
    data: "docs/data.md",
    fit: "docs/fit.md",
    drift: "docs/drift.md",
    exactness: "docs/exactness.md",
    forgetting: "docs/forgetting.md",
    images: "docs/images.md",
    introduction: "docs/introduction.md",
    late_labels: "docs/late-labels.md",
    library: "docs/library.md",
    other_programs: "docs/other-programs.md",
    recipes: "docs/recipes.md",
    self_tuning: "docs/self-tuning.md",
    speed: "docs/speed.md",
    streams: "docs/streams.md",
    corrections: "docs/corrections.md",
    texts_classified: "docs/texts-classified.md",
    texts_written: "docs/text.md",
    workers: "docs/workers.md",
    memory: "docs/memory.md",
}

/// Runs a page and compares what it prints with what it shows.
fn check(page: &Path) {
    let printed = shell::run(page);
    let all = blocks(page);
    for (block, output) in printed {
        let shown = all.iter().find(|b| b.line > block.line);
        if let Some(shown) = shown.filter(|b| b.follows && b.language == "text")
            && let Err(line) = matches(&shown.text, &output)
        {
            panic!(
                "{}:{}: this line is not printed:\n{line}\nbut this:\n{output}",
                name(page),
                shown.line
            );
        }
    }
}

/// Whether the shown lines are what was printed, or which of them is not; the digits may differ.
fn matches<'a>(shown: &'a str, printed: &str) -> Result<(), &'a str> {
    let shape = |line: &str| {
        let masked = line.replace(|c: char| c.is_ascii_digit() || ",.-".contains(c), " ");
        masked.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.trim().is_empty()).map(shape).collect()
    };
    let printed = lines(printed);
    // The numbers of printed lines that the shown ones so far can stand for.
    let mut ends = vec![0];
    let mut any = false;
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        if line.trim() == "..." {
            any = true;
            continue;
        }
        let wanted = shape(line);
        let next = |end: usize| (printed.get(end) == Some(&wanted)).then_some(end + 1);
        ends = match any {
            true => (ends[0]..printed.len()).filter_map(next).collect(),
            false => ends.into_iter().filter_map(next).collect(),
        };
        if ends.is_empty() {
            return Err(line);
        }
        any = false;
    }
    Ok(())
}

#[test]
fn each_page_with_commands_is_run() {
    for page in pages() {
        let has_commands = blocks(&page).iter().any(|block| block.language == "sh");
        let is_run = RUN.contains(&name(&page).as_str());
        assert!(is_run || !has_commands, "{}: add it to the list in this file", name(&page));
    }
}

#[test]
fn recipes_are_recipes() {
    let folder = tempfile::tempdir().unwrap();
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.language == "toml") {
            if let Some(reason) = &block.not_run {
                eprintln!("{}:{}: not read: {reason}", name(&page), block.line);
                continue;
            }
            let recipe = folder.path().join("recipe.toml");
            std::fs::write(&recipe, whole(block)).unwrap();
            let said = stderr(&tidemill(&["explain", text(&recipe)]));
            // A linear model has no step to explain.
            let fine = said.is_empty() || said.contains("online.linear learns from streams only");
            assert!(fine, "{}:{}: {said}\n{}", name(&page), block.line, whole(block));
        }
    }
}

/// A part of a recipe with what it lacks.
fn whole(block: &Block) -> String {
    let has = |section: &str| {
        let table = format!("[{section}]");
        block.text.lines().any(|line| line.starts_with(&table))
    };
    let mut text = String::new();
    if !has("training") {
        text += "[training]\nloss = \"sparse_categorical_crossentropy\"\n";
    }
    if !has("model") && !block.text.contains("linear = ") {
        text += "[model]\ninput = { features = 4 }\nlayers = [{ dense = { units = 8 } }, { dense = { units = 2 } }]\n";
    }
    // A key without a section before it stands for itself.
    block.text.clone() + "\n" + &text
}

#[test]
fn links_lead_somewhere() {
    let broken: Vec<String> = pages().iter().flat_map(|page| links::broken(page)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_site_has_all_pages() {
    let listed = links::summary();
    for page in pages() {
        let of_site = page.parent().unwrap().ends_with("docs") && !page.ends_with("SUMMARY.md");
        assert!(!of_site || listed.contains(&page), "{}: add it to docs/SUMMARY.md", name(&page));
    }
}
