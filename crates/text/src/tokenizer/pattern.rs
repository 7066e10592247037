//! Patterns of `Split` and `Replace`: a text, or a regular expression.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::TextError;

/// A pattern, ready to search.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Source", into = "Source")]
pub(crate) struct Pattern {
    source: Source,
    regex: Option<Box<fancy_regex::Regex>>,
}

/// A pattern as a file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Source {
    String(String),
    Regex(String),
}

impl TryFrom<Source> for Pattern {
    type Error = TextError;

    fn try_from(source: Source) -> Result<Pattern, TextError> {
        let regex = match &source {
            Source::String(_) => None,
            // The syntax is that of Oniguruma. There, `^` and `$` are at the lines of the text.
            Source::Regex(text) => Some(Box::new(
                fancy_regex::RegexBuilder::new(text)
                    .oniguruma_mode(true)
                    .multi_line(true)
                    .backtrack_limit(usize::MAX)
                    .build()
                    .map_err(|error| TextError::new(format!("the pattern `{text}`: {error}")))?,
            )),
        };
        Ok(Pattern { source, regex })
    }
}

impl From<Pattern> for Source {
    fn from(pattern: Pattern) -> Source {
        pattern.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source == other.source
    }
}

impl Pattern {
    /// Whether it is this text.
    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(&self.source, Source::String(source) if source == text)
    }

    /// Whether it is this regular expression.
    pub(crate) fn is_regex(&self, regex: &str) -> bool {
        matches!(&self.source, Source::Regex(source) if source == regex)
    }

    /// Calls `found` with the start and the end of each match.
    pub(crate) fn find(&self, text: &str, mut found: impl FnMut(usize, usize)) {
        match (&self.source, &self.regex) {
            (_, Some(regex)) => {
                // A match fails only where it needs more memory than there is.
                for found_here in regex.find_iter(text).map_while(Result::ok) {
                    found(found_here.start(), found_here.end());
                }
            }
            (Source::String(pattern) | Source::Regex(pattern), None) => {
                text.match_indices(pattern).for_each(|(at, text)| found(at, at + text.len()));
            }
        }
    }

    /// The text with `content` instead of each match.
    pub(crate) fn replace<'a>(&self, text: Cow<'a, str>, content: &str) -> Cow<'a, str> {
        let mut out = String::new();
        let mut done = 0;
        let mut any = false;
        self.find(&text, |start, end| {
            out.push_str(&text[done..start]);
            out.push_str(content);
            done = end;
            any = true;
        });
        if !any {
            return text;
        }
        out.push_str(&text[done..]);
        out.into()
    }
}
