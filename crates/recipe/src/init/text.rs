//! The text of a recipe.

/// The comment that a recipe starts with.
pub(super) fn head(found: &[String], next: &[String]) -> String {
    let mut text = String::from("# Written by `tidemill init`.\n#\n");
    for sentence in found {
        text += &comment(sentence);
    }
    text += "#\n";
    for command in next {
        text += &format!("#   {command}\n");
    }
    text + "#\n# Every key, its default and its meaning: docs/recipe-reference.md\n"
}

/// A sentence as lines of a comment.
pub(super) fn comment(sentence: &str) -> String {
    const WIDTH: usize = 96;
    let mut lines = vec![String::from("#")];
    for word in sentence.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 1 && last + 1 + word.chars().count() > WIDTH {
            lines.push(String::from("#"));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

/// A string as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string().trim().to_owned()
}

/// A key as TOML has it.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// `["a", "b"]`
pub(super) fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A word as an argument of a shell command.
pub(super) fn argument(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=,@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// `12,345`
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let grouped = digits.as_bytes().rchunks(3).rev();
    grouped.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

/// `1 row`, `2,000 rows`
pub(super) fn plural(n: usize, one: &str) -> String {
    let many = match one {
        "class" => "classes".to_owned(),
        one => format!("{one}s"),
    };
    format!("{} {}", count(n), if n == 1 { one } else { &many })
}

/// That folders of classes are empty, if any is.
pub(super) fn empty(names: &[String]) -> Option<String> {
    let folders = if names.len() == 1 { "The folder" } else { "The folders" };
    let classes = if names.len() == 1 {
        "is empty and counts as a class"
    } else {
        "are empty and count as classes"
    };
    let what = format!("{folders} {} {classes}: remove what is none.", few(names));
    (!names.is_empty()).then_some(what)
}

/// Some of the names, and how many more there are.
pub(super) fn few(names: &[String]) -> String {
    const MOST: usize = 8;
    const LONGEST: usize = 40;
    let short = |name: &String| match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.clone(),
    };
    let first: Vec<String> = names.iter().take(MOST).map(short).collect();
    match names.len() {
        0..=MOST => first.join(", "),
        n => format!("{} and {} more", first.join(", "), count(n - MOST)),
    }
}
