//! What is made of an event when it comes, and kept until its label does.

use tidemill_recipe::stream::{Feature, Label};

use super::bytes::{In, Out};
use super::kept::Place;
use crate::sample::{Scale, truth_of};
use tidemill_engine::prequential::Truth;

/// An event as the model saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Arrived {
    pub weight: f32,
    /// The input row of a network.
    pub row: Vec<f32>,
    /// Of a network with named inputs, the bits of each in its place.
    pub fields: Vec<Vec<u32>>,
    /// The features of a linear model.
    pub features: Vec<Feature>,
    /// The logits that were predicted; empty where the label came at once, so that the step's own
    /// prediction is the one.
    pub logits: Vec<f32>,
    /// How many steps had been learned then.
    pub steps: u64,
    /// How targets were scaled then.
    pub mean: f64,
    pub deviation: f64,
}

/// An event with its label, to be scored and learned from next.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub place: Place,
    pub label: Label,
    /// A target as it came, if it was scaled.
    pub target: Option<f64>,
    /// Whether it is learned from; negatives that were left out are scored only.
    pub learn: bool,
}

impl Arrived {
    pub fn write(&self, out: &mut Out) {
        out.f32(self.weight);
        out.u64(self.steps);
        out.f64(self.mean);
        out.f64(self.deviation);
        out.floats(&self.logits);
        out.floats(&self.row);
        out.u64(self.features.len() as u64);
        for f in &self.features {
            out.u64(u64::from(f.hash));
            out.f32(f.value);
        }
        self.fields.iter().for_each(|bits| out.slice(bytemuck::cast_slice(bits)));
    }

    pub fn read(bytes: &[u8]) -> Option<Arrived> {
        let mut from = In(bytes);
        let mut arrived = Arrived {
            weight: from.f32()?,
            steps: from.u64()?,
            mean: from.f64()?,
            deviation: from.f64()?,
            logits: from.floats()?,
            row: from.floats()?,
            features: Vec::new(),
            fields: Vec::new(),
        };
        for _ in 0..from.u64()? {
            arrived.features.push(Feature { hash: from.u64()? as u32, value: from.f32()? });
        }
        while !from.0.is_empty() {
            let bits = from.slice()?.chunks_exact(4);
            let bits = bits.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            arrived.fields.push(bits.collect());
        }
        Some(arrived)
    }

    /// How a target that came as `target` was scaled.
    pub fn scale(&self, target: Option<f64>) -> Option<Scale> {
        let (mean, deviation) = (self.mean, self.deviation);
        target.map(|target| Scale { mean, deviation, target })
    }
}

impl Ready {
    /// The place, once.
    pub fn take_place(&mut self) -> Place {
        std::mem::replace(&mut self.place, Place::Memory(Box::default()))
    }

    /// What is true of it.
    pub fn truth(&self) -> Truth<'_> {
        truth_of(Some(&self.label))
    }

    pub fn write(&self, out: &mut Out) {
        self.place.write(out);
        match &self.label {
            Label::Class(class) => {
                out.u8(0);
                out.u64(*class as u64);
            }
            Label::Value(value) => {
                out.u8(1);
                out.f32(*value);
            }
            Label::Set(values) => {
                out.u8(2);
                out.floats(values);
            }
        }
        out.u8(u8::from(self.target.is_some()));
        out.f64(self.target.unwrap_or(0.0));
        out.u8(u8::from(self.learn));
    }

    pub fn read(from: &mut In<'_>) -> Option<Ready> {
        let place = Place::read(from)?;
        let label = match from.u8()? {
            0 => Label::Class(from.u64()? as usize),
            1 => Label::Value(from.f32()?),
            _ => Label::Set(from.floats()?),
        };
        let (has, target) = (from.u8()? != 0, from.f64()?);
        Some(Ready { place, label, target: has.then_some(target), learn: from.u8()? != 0 })
    }
}
