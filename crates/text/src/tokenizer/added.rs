//! Tokens that are found in a text before the model sees it: special tokens and those that users add.

use serde::{Deserialize, Serialize};

use super::classes::{Classes, SPACE, WORD};

/// An added token, as a file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddedToken {
    pub(crate) id: i32,
    pub(crate) content: String,
    /// Whether it is found only where no letter or digit is beside it.
    pub(crate) single_word: bool,
    /// Whether it takes the spaces before it.
    pub(crate) lstrip: bool,
    /// Whether it takes the spaces after it.
    pub(crate) rstrip: bool,
    /// Whether it is looked for in the normalized text.
    pub(crate) normalized: bool,
    /// Whether decoding leaves it out.
    pub(crate) special: bool,
}

impl AddedToken {
    pub(crate) fn special(id: i32, content: &str) -> AddedToken {
        AddedToken {
            id,
            content: content.into(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }
}

/// Finds tokens in a text: the leftmost, and of those the longest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finder {
    /// What is looked for, and its token; by the first byte, the longest first.
    patterns: Vec<(String, AddedToken)>,
    /// The patterns of each first byte, as a range.
    by_first: Vec<(u32, u32)>,
}

impl Finder {
    /// Of patterns with their tokens.
    pub(crate) fn new(mut patterns: Vec<(String, AddedToken)>) -> Finder {
        patterns.retain(|(pattern, _)| !pattern.is_empty());
        patterns.sort_by(|(a, _), (b, _)| {
            let first = |text: &str| text.as_bytes().first().copied();
            (first(a), b.len(), a).cmp(&(first(b), a.len(), b))
        });
        let mut by_first = vec![(0, 0); 256];
        for (at, (pattern, _)) in patterns.iter().enumerate() {
            let range: &mut (u32, u32) = &mut by_first[pattern.as_bytes()[0] as usize];
            if range.1 == 0 {
                range.0 = at as u32;
            }
            range.1 = at as u32 + 1;
        }
        Finder { patterns, by_first }
    }

    /// Calls `each` with the parts of a text in their order, those that are tokens with their ids.
    pub(crate) fn split<'a>(&self, text: &'a str, mut each: impl FnMut(&'a str, Option<i32>)) {
        let mut done = 0;
        let mut at = 0;
        while let Some((start, token)) = self.next(text, at) {
            let mut end = start + token.0.len();
            at = end;
            let token = &token.1;
            let (before, after) = (&text[..start], &text[end..]);
            let classes = Classes::get();
            let word = |c: Option<char>| c.is_some_and(|c| classes.is(c, WORD));
            if token.single_word && (word(before.chars().next_back()) || word(after.chars().next()))
            {
                continue;
            }
            let space = |c: char| classes.is(c, SPACE);
            let start =
                if token.lstrip { before.trim_end_matches(space).len().max(done) } else { start };
            if token.rstrip {
                end += after.len() - after.trim_start_matches(space).len();
            }
            // Spaces that the token before has taken.
            let start = start.max(done);
            if done < start {
                each(&text[done..start], None);
            }
            each(&text[start..end.max(start)], Some(token.id));
            done = end.max(done);
        }
        if done < text.len() {
            each(&text[done..], None);
        }
    }

    fn next(&self, text: &str, from: usize) -> Option<(usize, &(String, AddedToken))> {
        if self.patterns.is_empty() {
            return None;
        }
        text.as_bytes()[from..].iter().enumerate().find_map(|(at, &first)| {
            let (low, high) = self.by_first[first as usize];
            let rest = &text.as_bytes()[from + at..];
            let patterns = &self.patterns[low as usize..high as usize];
            let found =
                patterns.iter().find(|(pattern, _)| rest.starts_with(pattern.as_bytes()))?;
            Some((from + at, found))
        })
    }
}
