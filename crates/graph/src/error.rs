//! What can be wrong with a graph.

/// A graph that cannot be built: what is wrong, in which layer, and a way out where one is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}{}", location(.path), help_line(.help))]
pub struct GraphError {
    /// The layer's path, such as `layers.2.dense`; empty where there is none.
    pub path: String,
    /// What is wrong, with the shapes.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
}

fn location(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

fn help_line(help: &Option<String>) -> String {
    help.as_ref().map(|h| format!("; help: {h}")).unwrap_or_default()
}

impl GraphError {
    /// An error without a place yet.
    pub fn new(message: impl Into<String>) -> GraphError {
        GraphError { path: String::new(), message: message.into(), help: None }
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> GraphError {
        self.help = Some(help.into());
        self
    }

    /// Adds the layer's path, unless it has one.
    pub fn at(mut self, path: &str) -> GraphError {
        if self.path.is_empty() {
            self.path = path.to_owned();
        }
        self
    }
}
