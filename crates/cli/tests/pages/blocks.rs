//! The code blocks of a Markdown page, with the comments that say what becomes of them.

use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// `sh`, `toml`, `text`, ...
    pub language: String,
    pub text: String,
    /// The line of its first line, from 1.
    pub line: usize,
    /// Why it is not run: `<!-- not run: REASON -->` before it.
    pub not_run: Option<String>,
    /// The status that it ends with, not 0: `<!-- fails: 2 -->` before it.
    pub fails: Option<String>,
    /// What must be there to run it: `<!-- needs: shared data, curl -->` before it.
    pub needs: Vec<String>,
    /// Whether it comes right after the block before it, as a command's output does.
    pub follows: bool,
}

/// README.md and the pages in `docs/`.
pub fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = vec![root.join("README.md")];
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    pages.extend(
        docs.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "md")),
    );
    pages[1..].sort();
    pages
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A page as messages name it.
pub fn name(page: &Path) -> String {
    page.strip_prefix(root()).unwrap().display().to_string()
}

pub fn blocks(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap();
    let mut blocks = Vec::new();
    let (mut not_run, mut fails, mut needs, mut follows) = (None, None, Vec::new(), false);
    let mut lines = text.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        let comment = |key: &str| {
            let inner = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
            Some(inner.strip_prefix(key)?.trim().to_owned())
        };
        if let Some(reason) = comment("not run:") {
            not_run = Some(reason);
        } else if let Some(status) = comment("fails:") {
            fails = Some(status);
        } else if let Some(what) = comment("needs:") {
            needs = what.split(", ").map(str::to_owned).collect();
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            let indent = line.len() - line.trim_start().len();
            let mut block = Block {
                language: language.split(',').next().unwrap().to_owned(),
                text: String::new(),
                line: 0,
                not_run: not_run.take(),
                fails: fails.take(),
                needs: std::mem::take(&mut needs),
                follows,
            };
            loop {
                let (number, line) =
                    lines.next().unwrap_or_else(|| panic!("{page:?}: no end of a block"));
                if line.trim_start() == "```" {
                    break;
                }
                block.line = if block.line == 0 { number + 1 } else { block.line };
                block.text += line.get(indent..).unwrap_or("");
                block.text.push('\n');
            }
            blocks.push(block);
            follows = true;
        } else if !line.trim().is_empty() {
            (not_run, fails, needs, follows) = (None, None, Vec::new(), false);
        }
    }
    blocks
}
