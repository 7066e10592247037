//! The records of a source.

use std::time::Duration;

use tidemill_engine::error::{Error, Result};
use tidemill_recipe::stream::{Events, Note, Position, Schema};

use super::{Came, DeadLetters, Feed, Item, Take};
use crate::intake::{Filled, Intake, RecordKind};
use crate::journal::JournalMark;

/// The records of a source.
pub struct RecordFeed {
    intake: Intake,
    dead: DeadLetters,
    position: Position,
    acknowledged: u64,
}

impl RecordFeed {
    /// The events of `intake`, which stands at `position`; bad records go to `dead`.
    pub fn new(intake: Intake, dead: DeadLetters, position: Position) -> RecordFeed {
        RecordFeed { intake, dead, position, acknowledged: 0 }
    }
}

impl Feed for RecordFeed {
    fn fill(&mut self, wait: Duration) -> Result<Filled> {
        self.intake.fill(wait)
    }

    fn waiting(&self) -> usize {
        self.intake.waiting()
    }

    fn first(&self) -> Option<(&Events, &Schema)> {
        self.intake.first_events().zip(self.intake.schema())
    }

    fn next(&mut self, take: &mut Take<'_>) -> Result<Came> {
        let RecordFeed { intake, dead, position, acknowledged } = self;
        loop {
            let mut came = None;
            let more = intake.take(|record, kind| {
                let taken = match kind {
                    RecordKind::Nothing => Ok(()),
                    RecordKind::Header(schema) => take(Item::Header(schema))?,
                    RecordKind::Bad(bad) => Err(bad.clone()),
                    RecordKind::Event(event) => {
                        let taken = take(Item::Event(event))?;
                        came = Some(if taken.is_ok() { Came::Taken } else { Came::SetAside });
                        taken
                    }
                };
                if let Err(bad) = taken {
                    dead.write_dead_letter(&record, &bad)?;
                }
                position.take(&record);
                *acknowledged = record.acknowledged;
                Ok(())
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

    fn finish(&mut self, header: &mut dyn FnMut(&Schema)) -> Result<()> {
        let RecordFeed { intake, dead, position, .. } = self;
        while intake.take(|record, kind| {
            match kind {
                RecordKind::Bad(bad) => dead.write_dead_letter(&record, bad)?,
                RecordKind::Header(schema) => header(schema),
                RecordKind::Nothing | RecordKind::Event(_) => {}
            }
            position.take(&record);
            Ok(())
        })? {}
        Ok(())
    }

    fn position(&self) -> &Position {
        &self.position
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
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
        self.dead.count()
    }

    fn dead_letters(&self) -> JournalMark {
        self.dead.mark()
    }
}
