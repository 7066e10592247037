//! The table as tensors of a checkpoint, and back.

use serde::{Deserialize, Serialize};

use super::model::{HashedLinear, Row};
use tidemill_engine::engine::StateTensor;

/// What the state has beside its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinearSums {
    /// Events learned from.
    pub events: u64,
    /// The sum of their weights.
    pub weights: f64,
    /// The sum of their squared norms, in units of the features' scales.
    pub norms: f64,
}

type Part = (&'static str, fn(&mut Row) -> &mut f32);

/// The tensors, each of 2^bits values: weights, sums of squared gradients, and what the rule keeps
/// beside them (the scales of the features, or FTRL's `z`).
const PARTS: [Part; 3] = [
    ("linear.weight", |row| &mut row.weight),
    ("linear.weight.squares", |row| &mut row.squares),
    ("linear.weight.scale", |row| &mut row.scale),
];

impl HashedLinear {
    /// Its state.
    pub fn tensors(&self) -> Vec<StateTensor> {
        let tensor = |(i, (name, part)): (usize, Part)| StateTensor {
            name: name.to_owned(),
            shape: match self.classes {
                1 => vec![self.rows.len()],
                classes => vec![self.rows.len() / classes, classes],
            },
            parameter: i == 0,
            values: self.rows.iter().map(|row| *part(&mut { *row })).collect::<Vec<_>>().into(),
        };
        PARTS.into_iter().enumerate().map(tensor).collect()
    }

    /// The rest of its state.
    pub fn sums(&self) -> LinearSums {
        LinearSums { events: self.events, weights: self.weights, norms: self.norms }
    }

    /// Takes over a state; what follows has the bits that it would have had in the other model.
    ///
    /// # Errors
    /// Says which tensor is missing or of another size or type; then nothing was changed.
    pub fn restore(&mut self, tensors: &[StateTensor], sums: LinearSums) -> Result<(), String> {
        let len = self.rows.len();
        let mut found = Vec::new();
        for (name, part) in PARTS {
            let Some(tensor) = tensors.iter().find(|t| t.name == name) else {
                return Err(format!("it has no tensor {name}"));
            };
            let values = tensor.elements::<f32>().map_err(|e| e.to_string())?;
            if values.len() != len {
                let has = values.len();
                return Err(format!("{name} has {has} rows, and the recipe's model {len}"));
            }
            found.push((values, part));
        }
        for (values, part) in found {
            for (row, value) in self.rows.iter_mut().zip(values) {
                *part(row) = *value;
            }
        }
        (self.events, self.weights, self.norms) = (sums.events, sums.weights, sums.norms);
        Ok(())
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.rows[..])
    }
}
