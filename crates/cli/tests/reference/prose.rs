//! Doc comments as text of a page.

/// Paragraphs without rustdoc's links, up to the first example.
pub fn paragraphs(doc: &str) -> String {
    let doc = doc.split("```").next().unwrap_or_default().trim();
    unlinked(doc)
}

/// One line for a table's cell.
pub fn cell(doc: &str) -> String {
    paragraphs(doc).replace("\n\n", " ").replace('|', "\\|")
}

/// Ends with a full stop, unless it is a formula.
pub fn sentence(doc: &str) -> String {
    match doc.chars().last() {
        None | Some('.' | '`') => doc.to_owned(),
        _ => format!("{doc}."),
    }
}

/// Without rustdoc's links: `[`Normalize`]` is its name in code. Links of other kinds stay.
fn unlinked(doc: &str) -> String {
    doc.replace("[`", "`").replace("`]", "`")
}

/// What no writer of a recipe understands in a doc comment.
pub fn problem(doc: &str) -> Option<&str> {
    let start = doc.find("[`")?;
    let link = &doc[start..];
    Some(&link[..link.find(']').map_or(link.len(), |end| end + 1)])
}

/// What a doc comment says beside the default, which has a column of its own.
///
/// # Errors
/// If it states another default.
pub fn without_default(doc: &str, value: &str) -> Result<String, String> {
    let (rest, stated) = if let Some(rest) = doc.strip_suffix(" by default.") {
        match rest.rfind("; ") {
            Some(at) => (&rest[..at], &rest[at + 2..]),
            None => return Ok(doc.to_owned()),
        }
    } else if let Some(at) = doc.rfind(" Default: ") {
        (&doc[..at], doc[at + 10..].trim_end_matches('.'))
    } else {
        return Ok(doc.to_owned());
    };
    let stated = stated.trim_matches('`');
    let number = |text: &str| text.replace(',', "").parse::<f64>().ok();
    match (number(stated), number(value)) {
        (Some(a), Some(b)) if a != b => Err(format!("the code's default is {value}: {doc}")),
        (Some(_), Some(_)) => Ok(rest.to_owned()),
        _ if ["yes", "no", "true", "false", "none", "empty"].contains(&stated) => {
            let same = match stated {
                "yes" | "true" => value == "true",
                "no" | "false" => value == "false",
                _ => value == "[]" || value == "{}" || value == "\"\"",
            };
            if same {
                Ok(rest.to_owned())
            } else {
                Err(format!("the code's default is {value}: {doc}"))
            }
        }
        _ if stated == value.trim_matches('"') || stated == value => Ok(rest.to_owned()),
        // Said in other words: both are shown.
        _ => Ok(doc.to_owned()),
    }
}

/// The anchor that GitHub and mdBook give a heading.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}
