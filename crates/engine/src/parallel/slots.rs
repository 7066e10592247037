//! Workers that keep a part of the optimizer's slots each: what they send each other beside sums.

use tidemill_nn::Part;

use super::Workers;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::{Kind, Message, ended, expect};

/// What is said of a worker that is lost.
pub(super) const LOST: &str = "with it a part of the optimizer's state is lost (training.optimizer_state = \"sharded\"), so that the run ends; \
     `tidemill train --resume` continues from its last checkpoint, with any number of workers";

impl Workers {
    /// After an update: gives all others the new values of the parameters that are updated here, and takes theirs.
    pub(crate) fn exchange_weights(&mut self, engine: &mut Engine) -> Result<()> {
        let Some(Part { number, .. }) = engine.part() else { return Ok(()) };
        let at = [engine.step(), self.generation];
        let message = Message::new(Kind::Weights, at[0]).number(at[1]);
        self.tell_all(&message.values(engine.updated_by(number)))?;
        for other in self.others() {
            let values = expect(self.group.as_mut(), other, Kind::Weights, at)?.values;
            engine.take_updated(other, &values)?;
        }
        self.group.flush()
    }

    /// Gets the slots of all other workers, so that the whole state is here until the next step. Only worker 0 calls this.
    ///
    /// # Errors
    /// If a worker is lost, or a step could not be finished: its slots, or half of its update, are lost.
    pub(crate) fn gather(&mut self, engine: &mut Engine) -> Result<()> {
        if engine.part().is_none() || engine.has_all_slots() {
            return Ok(());
        }
        if self.is_over || self.is_broken {
            return Err(Error::Run(LOST.into()));
        }
        self.gather_all(engine).map_err(|error| {
            self.is_broken = true;
            match self.group.lost().is_empty() {
                true => error,
                false => Error::Run(format!("{error}: {LOST}")),
            }
        })
    }

    fn gather_all(&mut self, engine: &mut Engine) -> Result<()> {
        self.tell_all(&Message::new(Kind::Gather, engine.step()))?;
        for other in self.others() {
            let slots = loop {
                let message = self.group.receive(other)?;
                match message.kind {
                    // Of a step that is not finished.
                    Kind::Sums | Kind::Sum => {}
                    Kind::Slots if message.step == engine.step() => break message.values,
                    Kind::End => return Err(ended(self.group.as_ref(), other, &message.text)),
                    kind => {
                        let name = self.group.name(other);
                        return Err(Error::Run(format!("{name} sent {kind:?} in place of slots")));
                    }
                }
            };
            engine.take_slots(other, &slots)?;
        }
        Ok(())
    }

    /// Sends worker 0 the slots that are kept here.
    pub(super) fn give_slots(&mut self, engine: &Engine) -> Result<()> {
        let message = Message::new(Kind::Slots, engine.step());
        self.group.send(0, message.values(engine.own_slots()))?;
        self.group.flush()
    }
}
