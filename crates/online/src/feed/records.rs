//! The records of a source.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::stream::{
    Answerer, BadEvent, Content, Events, Mark, Note, Position, Record, Schema,
};

use super::{Came, DeadLetters, Feed, Item, Recent, Take};
use crate::intake::{Filled, Intake, RecordKind};
use crate::journal::Journal;

/// The records of a source.
pub struct RecordFeed {
    intake: Intake,
    seen: Seen,
}

/// What a record was that is not bad.
enum Taken {
    Event,
    /// A header, a comment, an empty line.
    Nothing,
}

/// What has been taken of the records.
struct Seen {
    dead: DeadLetters,
    position: Position,
    acknowledged: u64,
    content: Option<Content>,
    /// Numbers of records that are set aside unseen.
    skip: Vec<String>,
    /// Whether records are lines.
    lines: bool,
    /// Where senders wait for what becomes of their records.
    answers: Option<Arc<Answerer>>,
}

impl Seen {
    /// The number of a record, as users give it.
    fn number(&self, record: &Record<'_>) -> String {
        match (self.lines, record.mark) {
            (true, mark) => mark.minor.to_string(),
            (false, Mark { major, minor: 0 }) => major.to_string(),
            (false, Mark { major, minor }) => format!("{major}-{minor}"),
        }
    }

    fn is_skipped(&self, record: &Record<'_>) -> bool {
        !self.skip.is_empty() && self.skip.contains(&self.number(record))
    }

    /// A record was taken, or is bad; `last` says whether nothing else came of it. Whoever takes an event answers its sender;
    /// all others are answered here.
    fn record(
        &mut self,
        record: &Record<'_>,
        taken: &std::result::Result<Taken, BadEvent>,
        last: bool,
    ) -> Result<()> {
        if let Err(bad) = taken {
            self.dead.write_dead_letter(record, bad)?;
        }
        if !last {
            return Ok(());
        }
        self.position.take(record);
        self.acknowledged = record.acknowledged;
        if let Some(content) = &mut self.content {
            content.take(record);
        }
        let Some(answers) = &self.answers else { return Ok(()) };
        match taken {
            Ok(Taken::Event) => {}
            Ok(Taken::Nothing) => answers.give(&self.position, "null".into()),
            Err(bad) => {
                answers.give(&self.position, json!({ "set_aside": bad.reason }).to_string());
            }
        }
        Ok(())
    }
}

/// An error at a record of this number, and how to go on without it.
fn at(number: &str, error: Error) -> Error {
    let what = match error {
        Error::Run(what) => what,
        Error::Engine(e) => e.to_string(),
        other => return other,
    };
    Error::Run(format!(
        "{what}; it is record {number}: --skip-record {number} sets it aside unseen"
    ))
}

/// The number, as users give it, of the record that ends at a position.
fn number_at(position: &str, lines: bool) -> &str {
    let mark = position.rsplit(' ').next().unwrap_or(position);
    match lines {
        true => mark.rsplit('-').next().unwrap_or(mark),
        false => mark,
    }
}

impl RecordFeed {
    /// The events of `intake`, which stands at `position`; bad records go to `dead`. `content` is
    /// what its files have held so far, where it reads files.
    pub fn new(
        intake: Intake,
        dead: DeadLetters,
        position: Position,
        content: Option<Content>,
    ) -> RecordFeed {
        let (skip, lines) = (Vec::new(), intake.is_of_lines());
        let seen = Seen { dead, position, acknowledged: 0, content, skip, lines, answers: None };
        RecordFeed { intake, seen }
    }

    /// Answers the senders of records that nobody takes.
    pub(crate) fn answer(mut self, answers: Option<Arc<Answerer>>) -> RecordFeed {
        self.seen.answers = answers;
        self
    }

    /// Sets these records aside unseen, by their numbers.
    pub(crate) fn skip(mut self, numbers: &[String]) -> RecordFeed {
        self.seen.skip = numbers.to_vec();
        self
    }
}

impl Feed for RecordFeed {
    fn fill(&mut self, wait: Duration) -> Result<Filled> {
        self.intake.fill(wait)
    }

    fn waiting(&self) -> usize {
        self.intake.waiting()
    }

    fn is_of_records(&self) -> bool {
        true
    }

    fn first(&self) -> Option<(&Events, &Schema)> {
        self.intake.first_events().zip(self.intake.schema())
    }

    fn next(&mut self, take: &mut Take<'_>) -> Result<Came> {
        loop {
            let mut came = None;
            let RecordFeed { intake, seen } = self;
            let more = intake.take(|record, kind, last| {
                let taken = match kind {
                    RecordKind::Nothing => Ok(Taken::Nothing),
                    RecordKind::Event(_) if seen.is_skipped(&record) => {
                        came = Some(Came::SetAside);
                        Err(BadEvent::expected("it was skipped, as --skip-record says"))
                    }
                    RecordKind::Header(schema) => {
                        take(Item::Header(schema))?.map(|()| Taken::Nothing)
                    }
                    RecordKind::Bad(bad) => {
                        seen.dead.count_recent(true);
                        Err(bad.clone())
                    }
                    RecordKind::Event(event) => {
                        let taken =
                            take(Item::Event(event)).map_err(|e| at(&seen.number(&record), e))?;
                        came = Some(if taken.is_ok() { Came::Taken } else { Came::SetAside });
                        seen.dead.count_recent(taken.as_ref().is_err_and(|bad| !bad.expected));
                        taken.map(|()| Taken::Event)
                    }
                };
                seen.record(&record, &taken, last)
            })?;
            match came {
                Some(came) => return Ok(came),
                None if more => {}
                None => {
                    let what = "an event was lost in the queue; please report it";
                    return Err(Error::Run(what.into()));
                }
            }
        }
    }

    fn at(&self, position: &str, error: Error) -> Error {
        at(number_at(position, self.seen.lines), error)
    }

    fn pass(&mut self, header: &mut dyn FnMut(&Schema)) -> Result<()> {
        let RecordFeed { intake, seen } = self;
        while !intake.next_is_event()
            && intake.take(|record, kind, last| {
                let taken = match kind {
                    RecordKind::Bad(bad) => {
                        seen.dead.count_recent(true);
                        Err(bad.clone())
                    }
                    RecordKind::Header(schema) => {
                        header(schema);
                        Ok(Taken::Nothing)
                    }
                    RecordKind::Nothing | RecordKind::Event(_) => Ok(Taken::Nothing),
                };
                seen.record(&record, &taken, last)
            })?
        {}
        Ok(())
    }

    fn events_within(&self, bytes: usize) -> Option<usize> {
        self.intake.events_within(bytes)
    }

    fn too_many_bad(&self) -> Option<String> {
        self.seen.dead.too_many()
    }

    fn first_bad(&mut self) -> Option<String> {
        self.seen.dead.take_first()
    }

    fn flood(&mut self) -> Option<String> {
        self.seen.dead.take_flood()
    }

    fn recent(&self) -> Recent {
        self.seen.dead.recent().clone()
    }

    fn content(&self) -> Option<Content> {
        self.seen.content.clone()
    }

    fn position(&self) -> &Position {
        &self.seen.position
    }

    fn acknowledged(&self) -> u64 {
        self.seen.acknowledged
    }

    fn commit(&self, position: Position) {
        self.intake.reader().commit(position);
    }

    fn shed(&self) -> u64 {
        self.intake.reader().counters().shed
    }

    fn notes(&self) -> Vec<Note> {
        self.intake.notes().to_vec()
    }

    fn bad(&self) -> u64 {
        self.seen.dead.count()
    }

    fn dead_letters(&mut self) -> Option<&mut Journal> {
        Some(self.seen.dead.journal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_record() {
        for (position, lines, number) in [
            ("73584-2628", true, "2628"),
            ("a b.csv 73584-2628", true, "2628"),
            ("17", false, "17"),
            ("1700000000000-3", false, "1700000000000-3"),
        ] {
            let error = at(number_at(position, lines), Error::Run("the step failed".into()));
            let says =
                format!("the step failed; it is record {number}: --skip-record {number} sets");
            assert!(error.to_string().starts_with(&says), "{error}");
        }
    }
}
