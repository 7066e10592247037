//! Serde's messages in the words of a recipe's writer.

/// The path and message to show for serde's `message` about `path`; `is_key` says whether a name
/// is a key of what stands at a path, and `keys` which keys that has.
pub(super) fn explain(
    mut path: Vec<String>,
    message: &str,
    is_key: impl Fn(&[String], &str) -> bool,
    keys: impl Fn(&[String]) -> Vec<String>,
) -> (Vec<String>, String) {
    let first = message.lines().next().unwrap_or_default();
    // A value of several lines is quoted as it is.
    let joined = message.replace('\n', "\\n");
    let is_cut = first.matches('`').count() % 2 == 1;
    let message = if is_cut { joined.trim() } else { first.trim() };
    if let Some((name, known)) = unexpected(message) {
        path.push(name.to_string());
        return (path, format!("is unknown; {}", nearest(name, &known)));
    }
    if let Some((name, known)) = unknown(message) {
        let hint = nearest(name, &known);
        let is_last = path.last().is_some_and(|last| last == name);
        return if is_last || is_key(&path, name) {
            if !is_last {
                path.push(name.to_string());
            }
            (path, format!("is unknown; {hint}"))
        } else {
            (path, format!("= \"{name}\" is unknown; {hint}"))
        };
    }
    if let Some(name) = message.strip_prefix("missing field ").and_then(quoted) {
        path.push(name.to_string());
        return (path, "is missing".into());
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((found, expected)) =
            message.strip_prefix(prefix).and_then(|rest| rest.split_once(", expected "))
        {
            return (path, format!("must be {}, found {}", expectation(expected), value(found)));
        }
    }
    if message.starts_with("wanted exactly 1 element") {
        let keys: Vec<String> = keys(&path).iter().map(|key| format!("\"{key}\"")).collect();
        return match &keys[..] {
            [] => (path, "must name one kind, and is empty".into()),
            keys => {
                let keys = keys.join(" and ");
                (path, format!("must be one of {keys}, found all of them; keep one"))
            }
        };
    }
    if message == "wanted string or table" {
        return (path, "must be a name or a table".into());
    }
    let message = match message.strip_prefix("must ") {
        Some(_) => message.to_string(),
        None if path.is_empty() => message.to_string(),
        None => format!("is wrong: {message}"),
    };
    (path, message)
}

/// The name and the known ones of `unknown field|variant`.
fn unknown(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message
        .strip_prefix("unknown field ")
        .or_else(|| message.strip_prefix("unknown variant "))?;
    let name = quoted(rest)?;
    let known = rest.get(name.len() + 2..)?.split('`').skip(1).step_by(2).collect();
    Some((name, known))
}

/// The first name and the known ones of `unexpected keys in table`, which toml itself says of the
/// tables of layers such as `flatten` and `layer_norm`.
fn unexpected(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unexpected keys in table: ")?;
    let (names, known) = rest.rsplit_once(", available keys:")?;
    let known = known.trim().split(", ").filter(|k| !k.is_empty()).collect();
    Some((names.split(", ").next()?, known))
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('`')?.split_once('`').map(|(name, _)| name)
}

/// `did you mean "x"?`, or all that is known where nothing is near.
pub(super) fn nearest(name: &str, known: &[&str]) -> String {
    // A name of another section may have a word more, such as `missing_values` for `missing`.
    const WHOLE_WORD: usize = 4;
    let is_start = |k: &&&str| k.len() >= WHOLE_WORD && name.starts_with(&format!("{k}_"));
    if let Some(start) = known.iter().filter(is_start).max_by_key(|k| k.len()) {
        return format!("did you mean \"{start}\"?");
    }
    let best = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k))
        .min_by_key(|(distance, _)| *distance);
    match best {
        None => "no key is known here; write {}".into(),
        Some((distance, near)) if distance <= (near.len() / 3).max(1) => {
            format!("did you mean \"{near}\"?")
        }
        Some(_) => format!("known here: {}", known.join(", ")),
    }
}

/// Rust's type names mean nothing to a recipe's writer.
fn expectation(expected: &str) -> String {
    match expected {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number of 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "an array".into(),
        "a map" => "a table".into(),
        e if e.starts_with("a nonzero") => "a positive integer".into(),
        e if e.starts_with("struct ") || e.starts_with("struct variant ") => "a table".into(),
        e if e.starts_with("enum ") || e == "string or map" => "a name or a table".into(),
        e => e.to_string(),
    }
}

/// `integer \`-5\`` as `-5`, `string "a"` as `"a"`, and so on.
fn value(found: &str) -> String {
    if let Some(quoted) = found.split('`').nth(1) {
        return quoted.to_string();
    }
    match found.split_once(' ') {
        Some(("string", rest)) => rest.to_string(),
        _ if found == "map" => "a table".into(),
        _ if found == "sequence" => "an array".into(),
        _ => found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of several lines, quotes in them, and messages that end early.
    #[test]
    fn any_message_is_explained() {
        let said = |message: &str| {
            explain(vec!["training".into(), "loss".into()], message, |_, _| false, |_| Vec::new()).1
        };
        let several = said("unknown variant `binary\nx`, expected one of `mse`, `huber`");
        assert_eq!(several, "= \"binary\\nx\" is unknown; known here: mse, huber");
        let whole = "unknown variant `a`b\n`c`, expected `mse`\n";
        for end in 0..=whole.len() {
            said(&whole[..end]);
            said(&whole[..end].replace("unknown variant", "unknown field"));
            said(&whole[..end].replace("unknown variant", "missing field"));
        }
    }
}
