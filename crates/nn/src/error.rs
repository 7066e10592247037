//! What can be wrong with a specification.

/// A value that has no meaning, by its key path, so that the reader of a recipe can add file and
/// line: `layers[2].dense.units must be a positive integer, found -5`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {message}")]
pub struct ModelError {
    /// Key path below the specification, such as `layers[2].dense.units`.
    pub path: String,
    /// What is wrong, continuing the path as a sentence.
    pub message: String,
}

impl ModelError {
    /// An error at a key path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> ModelError {
        ModelError { path: path.into(), message: message.into() }
    }
}

/// Fails with `path must be <expected>, found <found>` unless the value is as it must be.
pub(crate) fn require(
    holds: bool,
    path: impl FnOnce() -> String,
    expected: &str,
    found: impl std::fmt::Display,
) -> Result<(), ModelError> {
    if holds {
        Ok(())
    } else {
        Err(ModelError::new(path(), format!("must be {expected}, found {found}")))
    }
}

/// The key path in a recipe of a layer's path in a graph: `layers.2.residual.layers.0.conv2d` is
/// `layers[2].residual.layers[0].conv2d`. All turns of a repeat have one key.
pub fn key_path(graph_path: &str) -> String {
    let mut key = String::new();
    let mut parts = graph_path.split('.').peekable();
    while let Some(part) = parts.next() {
        if part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() {
            key.push_str(&format!("[{part}]"));
            continue;
        }
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(part);
        if part == "repeat" && parts.next().is_some() && parts.peek().is_some() {
            key.push_str(".layers");
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::key_path;

    #[test]
    fn graph_paths_as_keys() {
        let cases = [
            ("layers.2.dense", "layers[2].dense"),
            ("layers.2.residual.layers.0.conv2d", "layers[2].residual.layers[0].conv2d"),
            ("layers.2.residual.shortcut.1.dense", "layers[2].residual.shortcut[1].dense"),
            ("layers.3.repeat.1.0.dense", "layers[3].repeat.layers[0].dense"),
            (
                "layers.3.repeat.1.0.residual.layers.4.conv2d",
                "layers[3].repeat.layers[0].residual.layers[4].conv2d",
            ),
            ("layers.3.repeat", "layers[3].repeat"),
            ("loss", "loss"),
            ("", ""),
        ];
        for (path, key) in cases {
            assert_eq!(key_path(path), key);
        }
    }
}
