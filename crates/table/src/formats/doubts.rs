//! Columns of a file that are text, though their values look like numbers: with signs beside them, with spaces between their
//! digits, or with some other text in many rows. What can be only one thing is taken for it; of the others a user should know.

use std::collections::BTreeMap;

use super::number::{Style, leading_zero, loose, mostly_numbers};
use super::units::unit_of;
use super::{FormatSpec, Note, short};

/// Different units of a column that are counted.
const MOST_UNITS: usize = 3;
/// Rows that are too few to say anything of a column.
const FEW: u64 = 5;

/// What the texts of a column are.
#[derive(Default)]
pub(super) struct Doubts {
    pub(super) name: String,
    pub(super) numbers: u64,
    pub(super) texts: u64,
    /// Digits with a zero before them.
    pub(super) zeros: u64,
    /// How many have which unit, and whether that is a sign.
    units: BTreeMap<String, (u64, bool)>,
    with_unit: String,
    /// Digits in groups of three between spaces.
    spaced: u64,
    with_spaces: String,
    /// The first that is no number in any way.
    odd: String,
}

impl Doubts {
    /// Of the column with this name, of which nothing was seen.
    pub(super) fn of(name: &str) -> Doubts {
        Doubts { name: name.to_owned(), ..Doubts::default() }
    }

    /// Takes a text of the column into account.
    pub(super) fn add_text(&mut self, text: &str, style: Style) {
        self.texts += 1;
        let spaces = Style { thousands: Some(b' '), ..style };
        if leading_zero(text.as_bytes()) {
            self.zeros += 1;
        } else if style.thousands.is_none() && loose(text.as_bytes(), spaces).is_some() {
            self.spaced += 1;
            if self.with_spaces.is_empty() {
                self.with_spaces = short(text.as_bytes());
            }
        } else if let Some((unit, is_sign)) = unit_of(text, style).or_else(|| unit_of(text, spaces))
        {
            if self.units.is_empty() {
                self.with_unit = short(text.as_bytes());
            }
            if self.units.len() < MOST_UNITS || self.units.contains_key(&unit) {
                self.units.entry(unit).or_insert((0, is_sign)).0 += 1;
            }
        } else if self.odd.is_empty() {
            self.odd = short(text.as_bytes());
        }
    }

    /// Whether more than a tenth of its values is no number.
    pub(super) fn is_text(&self) -> bool {
        !mostly_numbers(self.numbers, self.texts)
    }

    /// The only unit of a column whose values are numbers but for it, and whether it is a sign.
    fn unit(&self) -> Option<(&str, bool)> {
        let (unit, (count, is_sign)) = self.units.first_key_value()?;
        let numbers = self.numbers + self.spaced + count;
        let enough = self.units.len() == 1
            && !self.is_share_or_not()
            && *count >= FEW
            && mostly_numbers(numbers, self.texts - count - self.spaced);
        enough.then_some((unit, *is_sign))
    }

    /// Whether some of its values are in per cent and others, which may be in hundredths, are not.
    fn is_share_or_not(&self) -> bool {
        let unit = self.units.first_key_value().filter(|_| self.units.len() == 1);
        let share = |(unit, (count, _)): (&String, &(u64, bool))| {
            matches!(unit.as_str(), "%" | "‰") && *count >= FEW && 10 * self.numbers > *count
        };
        unit.is_some_and(share)
    }

    /// Whether its values are numbers but for spaces between digits.
    fn is_spaced(&self) -> bool {
        self.spaced >= FEW && mostly_numbers(self.numbers + self.spaced, self.texts - self.spaced)
    }
}

/// Takes over to `spec` what columns of a file of rows show of how its numbers are written; gives what a user should know.
/// `rows` says whether it is a file of rows, whose recipe has keys for that.
pub(super) fn settle(
    inputs: &[&Doubts],
    label: &Doubts,
    spec: &mut FormatSpec,
    rows: bool,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let free = |c: &&&Doubts| c.is_text() && !spec.text.contains(&c.name);
    let inputs: Vec<&Doubts> = inputs.iter().filter(free).copied().collect();
    let all: Vec<&Doubts> =
        inputs.iter().copied().chain(Some(label).filter(|label| label.is_text())).collect();
    let section = spec.section;
    let mut taken: Vec<&str> = Vec::new();
    if let Some(column) =
        all.iter().find(|c| c.is_spaced()).filter(|_| rows && spec.thousands.is_none())
    {
        spec.thousands = Some(' ');
        taken.extend(all.iter().filter(|c| c.is_spaced()).map(|c| &*c.name));
        notes.push(Note::once(format!(
            "spaces group thousands in numbers, as in `{}` of column `{}`; if that is a text, name the column in {section}.text",
            column.with_spaces, column.name
        )));
    }
    let mut units: Vec<String> = Vec::new();
    for column in &all {
        let (name, sample) = (&column.name, &column.with_unit);
        match column.unit() {
            Some((unit, true))
                if rows && (spec.units.is_empty() || spec.units.iter().any(|u| u == unit)) =>
            {
                taken.push(name);
                if !units.iter().any(|u| u == unit) {
                    units.push(unit.to_owned());
                    notes.push(Note::once(format!(
                        "`{unit}` is no part of numbers, as in `{sample}` of column `{name}`; if that is a text, name the column in \
                         {section}.text"
                    )));
                }
            }
            Some((unit, _)) => {
                taken.push(name);
                let to_do = match rows {
                    true => format!("set units = [\"{unit}\"] in [{section}]"),
                    false => format!("write them without `{unit}`"),
                };
                notes.push(Note::once(format!(
                    "column `{name}` is text, such as `{sample}`; if these are numbers, {to_do}"
                )));
            }
            None if column.is_share_or_not() => {
                taken.push(name);
                notes.push(Note::once(format!(
                    "column `{name}` is text, as some of its values are in per cent, such as `{sample}`, and others are not, so that as numbers \
                     they would not compare"
                )));
            }
            None if column.units.len() > 1
                && mostly_numbers(column.units.values().map(|u| u.0).sum(), column.numbers) =>
            {
                let units: Vec<String> =
                    column.units.keys().map(|unit| format!("`{unit}`")).collect();
                notes.push(Note::once(format!(
                    "column `{name}` is text, as its values have different units ({}), so that as numbers they would not compare",
                    units.join(", ")
                )));
            }
            _ => {}
        }
    }
    // A label of classes may be called anything.
    let mixed = inputs.iter().filter(|c| !taken.contains(&&*c.name));
    for column in mixed.filter(|c| c.zeros == 0 && c.numbers >= FEW && c.numbers >= c.texts) {
        let Doubts { name, numbers, texts, odd, with_spaces, with_unit, .. } = column;
        let odd = [odd, with_unit, with_spaces].into_iter().find(|text| !text.is_empty());
        let odd = odd.map_or(String::new(), |odd| format!(", such as `{odd}`"));
        notes.push(Note::once(format!(
            "column `{name}` is text, as {texts} of its {} values are no numbers{odd}; if it is one of numbers, say which texts are \
             missing values in `missing`",
            numbers + texts
        )));
    }
    if spec.units.is_empty() {
        spec.units = units;
    }
    notes
}
