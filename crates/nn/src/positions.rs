//! Positions that attention knows of itself, without a table that is added to what it reads.

use crate::attention::PositionKind;
use crate::build::Start;
use crate::error::{ModelError, require};
use crate::form::{count, name_or_table};
use crate::initializers::{Fans, Initializer};
use crate::layers::{At, Builder};
use serde::{Deserialize, Serialize};
use tidemill_graph::{GraphError, Relative, Rotary, TensorId};

/// Where the positions of a transformer come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Positions {
    /// A learned row for each position, added to the embedding.
    #[default]
    Learned,
    /// Sines and cosines of wavelengths from 2 pi to 10000 * 2 pi, added to the embedding (Vaswani et al. 2017).
    Sinusoidal,
    /// Queries and keys of attention within a sequence are turned by their positions (Su et al. 2021); nothing is added to the
    /// embedding.
    Rotary(RotarySpec),
    /// Attention within a sequence learns a bias for each head and range of distances (Raffel et al. 2020); nothing is added to
    /// the embedding.
    Relative(RelativeSpec),
}

name_or_table!(
    Positions,
    "\"learned\", \"sinusoidal\", \"rotary\" or \"relative\", or a table such as { rotary = { base = 500000.0 } }"
);

impl Positions {
    /// The kind of table that is added to the embedding, if one is.
    pub(crate) fn table(self) -> Option<PositionKind> {
        match self {
            Positions::Learned => Some(PositionKind::Learned),
            Positions::Sinusoidal => Some(PositionKind::Sinusoidal),
            Positions::Rotary(_) | Positions::Relative(_) => None,
        }
    }

    pub(crate) fn rotary(self) -> Option<RotarySpec> {
        match self {
            Positions::Rotary(spec) => Some(spec),
            _ => None,
        }
    }

    pub(crate) fn relative(self) -> Option<RelativeSpec> {
        match self {
            Positions::Relative(spec) => Some(spec),
            _ => None,
        }
    }

    /// That its options are valid for heads of so many values, which are causal, or of which some are not.
    pub(crate) fn validate(
        self,
        model: &str,
        head_units: usize,
        all_causal: bool,
    ) -> Result<(), ModelError> {
        match self {
            Positions::Learned | Positions::Sinusoidal => Ok(()),
            Positions::Relative(spec) => {
                let path = format!("{model}.positions.relative");
                spec.validate(&path, true)?;
                if all_causal { Ok(()) } else { spec.validate(&path, false) }
            }
            Positions::Rotary(spec) => {
                if !head_units.is_multiple_of(2) {
                    let what = format!(
                        "gives heads of {head_units} values, and rotary positions turn pairs; choose units / heads even"
                    );
                    return Err(ModelError::new(format!("{model}.heads"), what));
                }
                spec.validate(&format!("{model}.positions.rotary"))
            }
        }
    }
}

/// Options of rotary positions. In each head of the queries and keys, value `i` of the first half and of the second half are a
/// pair, as in GPT-NeoX and Llama; it is turned by `position / base^(2 i / values of a head)` radians, so that what a query
/// reads of a key depends on the distance between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotarySpec {
    /// The wavelengths are from 2 pi to nearly `base` times that; 10000 by default.
    #[serde(default = "ten_thousand")]
    pub base: f64,
}

fn ten_thousand() -> f64 {
    10_000.0
}

impl Default for RotarySpec {
    fn default() -> RotarySpec {
        RotarySpec { base: ten_thousand() }
    }
}

impl RotarySpec {
    pub(crate) fn validate(&self, path: &str) -> Result<(), ModelError> {
        let holds = self.base > 1.0 && self.base.is_finite();
        require(holds, || format!("{path}.base"), "above 1", self.base)
    }
}

/// Options of biases of distances. Each head adds a learned value to the score of a key, by the range of distances that the key
/// is in. Half of the ranges are single distances, the others grow by a factor up to `distance`. Where later positions
/// are read, they have half of the ranges. The table `relative.bias` of `[buckets, heads]` starts with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelativeSpec {
    /// Ranges of distances; 32 by default.
    #[serde(default = "buckets", deserialize_with = "count")]
    pub buckets: usize,
    /// The distance from which on all are in one range; 128 by default.
    #[serde(default = "distance", deserialize_with = "count")]
    pub distance: usize,
}

fn buckets() -> usize {
    32
}

fn distance() -> usize {
    128
}

impl Default for RelativeSpec {
    fn default() -> RelativeSpec {
        RelativeSpec { buckets: buckets(), distance: distance() }
    }
}

impl RelativeSpec {
    pub(crate) fn ranges(&self) -> Relative {
        Relative { buckets: self.buckets, distance: self.distance }
    }

    pub(crate) fn validate(&self, path: &str, causal: bool) -> Result<(), ModelError> {
        match self.ranges().fault(causal) {
            None => Ok(()),
            Some((key, must)) => {
                let found = if key == "buckets" { self.buckets } else { self.distance };
                require(false, || format!("{path}.{key}"), &must, found)
            }
        }
    }
}

impl Builder<'_> {
    /// The biases of `heads` heads by ranges of distances.
    pub(crate) fn biases(&mut self, spec: &RelativeSpec, heads: usize) -> TensorId {
        let shape = [spec.buckets, heads];
        let table = self.graph.parameter("relative.bias", &shape);
        self.starts.push((table, Start::Drawn(Initializer::Zeros, Fans::of_kernel(&shape))));
        table
    }

    /// Queries, keys and values whose first `heads` heads of `dim` values are turned by their positions.
    pub(crate) fn turned(
        &mut self,
        qkv: TensorId,
        spec: &RotarySpec,
        [heads, dim]: [usize; 2],
        at: At,
    ) -> Result<TensorId, GraphError> {
        if !dim.is_multiple_of(2) {
            return Err(GraphError::new(format!(
                "has heads of {dim} values, and rotary positions turn pairs of them"
            ))
            .help("choose units / heads even, or an even head_units"));
        }
        let given = self.step_positions(at)?;
        let room = given.map(|(_, room)| room);
        let rotary = Rotary { heads, dim, base: spec.base, room, inverse: false };
        let inputs: Vec<TensorId> = [qkv].into_iter().chain(given.map(|(id, _)| id)).collect();
        self.graph.apply(rotary, &inputs)
    }
}
