//! Where the pages' links lead.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::blocks::{name, pages};

/// The links of a page that lead nowhere.
pub fn broken(page: &Path) -> Vec<String> {
    let text = prose(page);
    let mut broken = Vec::new();
    for (_, target) in links(&text) {
        if target.starts_with("https://") || target.starts_with("http://") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path = match file {
            "" => page.to_owned(),
            file => page.parent().unwrap().join(file),
        };
        let found =
            path.exists() && (anchor.is_empty() || anchors(&path).contains(&anchor.to_owned()));
        if !found {
            broken.push(format!("{}: {target}", name(page)));
        }
    }
    broken
}

/// The pages that `docs/SUMMARY.md` lists.
pub fn summary() -> Vec<PathBuf> {
    let summary = pages().into_iter().find(|p| p.ends_with("SUMMARY.md")).unwrap();
    let text = std::fs::read_to_string(&summary).unwrap();
    links(&text).map(|(_, target)| summary.parent().unwrap().join(target)).collect()
}

/// A page's text without its code.
fn prose(page: &Path) -> String {
    let text = std::fs::read_to_string(page).unwrap();
    let mut code = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            // Code in a line may look like a link.
            let parts = line.split('`').enumerate();
            lines.push(parts.map(|(i, part)| if i % 2 == 0 { part } else { "x" }).collect());
        }
    }
    lines.join("\n")
}

/// `[text](target)`
fn links(text: &str) -> impl Iterator<Item = (String, String)> {
    text.match_indices("](").filter_map(move |(at, _)| {
        let label = text[..at].rsplit('[').next()?.to_owned();
        let target = text[at + 2..].split(')').next()?.to_owned();
        Some((label, target))
    })
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let mut seen = HashMap::<String, usize>::new();
    let mut code = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        code ^= line.starts_with("```");
        let Some(heading) = line
            .trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| !code && line.starts_with('#'))
        else {
            continue;
        };
        let anchor: String = heading
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        let times = seen.entry(anchor.clone()).or_default();
        anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}
