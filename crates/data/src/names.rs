//! What the names of files say, by a pattern: of sounds, and of images that belong together.

/// What a name says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) label: String,
    pub(crate) speaker: String,
    pub(crate) group: String,
    pub(crate) index: Option<u64>,
}

/// A pattern of names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// What stands before each field, and which field it is.
    parts: Vec<(String, Part)>,
    /// What stands after the last.
    end: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Label,
    Speaker,
    Group,
    Index,
    Any,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Label => "label",
            Part::Speaker => "speaker",
            Part::Group => "group",
            Part::Index => "index",
            Part::Any => "",
        }
    }
}

impl Names {
    /// Of a pattern of sounds, such as `{label}_{speaker}_{index}`. The error continues a sentence.
    pub(crate) fn of_sounds(pattern: &str) -> Result<Names, String> {
        Names::parse(pattern, &[Part::Label, Part::Speaker, Part::Index])
    }

    /// Of a pattern that says which files belong together, such as `{group}_{}`. The error continues a sentence.
    pub(crate) fn of_groups(pattern: &str) -> Result<Names, String> {
        Names::parse(pattern, &[Part::Group])
    }

    /// With these fields, of which the first must be there.
    fn parse(pattern: &str, known: &[Part]) -> Result<Names, String> {
        let mut rest = pattern;
        let mut parts: Vec<(String, Part)> = Vec::new();
        while let Some((before, after)) = rest.split_once('{') {
            let wrong = || format!("= {pattern:?} has a {{ without its }}");
            let (name, after) = after.split_once('}').ok_or_else(wrong)?;
            let mut all = known.iter().copied().chain([Part::Any]);
            let Some(part) = all.find(|part| part.name() == name) else {
                let names: Vec<String> =
                    known.iter().map(|p| format!("{{{}}}", p.name())).collect();
                let names = names.join(", ");
                return Err(format!("= {pattern:?} has {{{name}}}; known are {names} and {{}}"));
            };
            if part != Part::Any && parts.iter().any(|(_, other)| *other == part) {
                return Err(format!("= {pattern:?} has {{{name}}} twice"));
            }
            if before.is_empty() && !parts.is_empty() {
                return Err(format!("= {pattern:?} has nothing between two fields"));
            }
            parts.push((before.to_owned(), part));
            rest = after;
        }
        if let Some(needed) = known.first().filter(|&&p| parts.iter().all(|(_, part)| *part != p)) {
            return Err(format!("= {pattern:?} lacks {{{}}}", needed.name()));
        }
        Ok(Names { parts, end: rest.to_owned() })
    }

    /// What a name (a path with `/`) says; None where it is of another form. The name's ending and folders that the pattern has not are left
    /// out.
    pub(crate) fn read(&self, path: &str) -> Option<Named> {
        let folders = self.parts.iter().map(|(text, _)| text).chain([&self.end]);
        let wanted = folders.map(|text| text.matches('/').count()).sum::<usize>();
        let segments: Vec<&str> = path.split('/').collect();
        let first = segments.len().checked_sub(wanted + 1)?;
        let joined = segments[first..].join("/");
        let (mut rest, _) = joined.rsplit_once('.')?;
        let mut named = Named::default();
        for (i, (before, part)) in self.parts.iter().enumerate() {
            rest = rest.strip_prefix(before.as_str())?;
            let next = self.parts.get(i + 1).map_or(&self.end, |(text, _)| text);
            let at = match (next.is_empty(), i + 1 == self.parts.len()) {
                (true, _) => rest.len(),
                // The last field goes as far as the end allows.
                (false, true) => rest.len().checked_sub(next.len())?,
                (false, false) => rest.find(next.as_str())?,
            };
            let value = rest.get(..at)?;
            rest = &rest[at..];
            if value.is_empty() || (value.contains('/') && *part != Part::Any) {
                return None;
            }
            match part {
                Part::Label => named.label = value.to_owned(),
                Part::Speaker => named.speaker = value.to_owned(),
                Part::Group => named.group = value.to_owned(),
                Part::Index => named.index = Some(value.parse().ok()?),
                Part::Any => {}
            }
        }
        (rest == self.end).then_some(named)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(pattern: &str, path: &str) -> Option<(String, String, Option<u64>)> {
        let Named { label, speaker, index, .. } = Names::of_sounds(pattern).unwrap().read(path)?;
        Some((label, speaker, index))
    }

    #[test]
    fn names_say_what_the_pattern_asks_for() {
        let some =
            |label: &str, speaker: &str, index| Some((label.to_owned(), speaker.to_owned(), index));
        let digits = "{label}_{speaker}_{index}";
        assert_eq!(read(digits, "recordings/7_theo_12.wav"), some("7", "theo", Some(12)));
        assert_eq!(read(digits, "7_theo_12.wav"), some("7", "theo", Some(12)));
        assert_eq!(read(digits, "7_theo.wav"), None);
        assert_eq!(read(digits, "7_theo_x.wav"), None);
        assert_eq!(read("{label}/{}", "a/yes/0123.abc.wav"), some("yes", "", None));
        assert_eq!(read("{label}/{}", "0123.wav"), None);
        assert_eq!(read("{speaker}-{label}", "x/ann-one two.flac"), some("one two", "ann", None));
        assert_eq!(
            read("{speaker}/{label} (take {index})", "b/four (take 3).ogg"),
            some("four", "b", Some(3))
        );
    }

    #[test]
    fn names_say_what_belongs_together() {
        let read =
            |pattern: &str, path: &str| Some(Names::of_groups(pattern).unwrap().read(path)?.group);
        assert_eq!(read("{group}_{}", "cat/p12_left.png"), Some("p12".into()));
        assert_eq!(read("{}/{group}-{}", "cat/p12-3.png"), Some("p12".into()));
        assert_eq!(read("{group}/{}", "video 7/0001.jpg"), Some("video 7".into()));
        assert_eq!(read("{group}_{}", "cat/p12.png"), None);
        let wrong = Names::of_groups("{label}_{group}").unwrap_err();
        assert!(wrong.contains("known are {group} and {}"), "{wrong}");
        assert!(Names::of_groups("{}").unwrap_err().contains("lacks {group}"));
    }

    #[test]
    fn wrong_patterns_are_errors() {
        let error = |pattern: &str| Names::of_sounds(pattern).unwrap_err();
        assert!(error("{speaker}").contains("lacks {label}"));
        assert!(error("{label}{index}").contains("nothing between"));
        assert!(error("{label}_{label}").contains("twice"));
        assert!(error("{label}_{where}").contains("known are"));
        assert!(error("{label").contains("without its }"));
    }
}
