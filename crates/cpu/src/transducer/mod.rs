//! The recurrent neural network transducer: [`tidemill_graph::Transducer`].
//!
//! The joint network is computed block by block of nodes, in memory that does not depend on how many there are: its logits, one for each
//! position, number of labels and class, are never there as a whole. The gradient computes them again, and only at nodes that have one: most
//! are on no way that is probable.
//!
//! # Layout
//! - here: a sample's sizes; `joint` and `gradient`: the joint network; `lattice`: the loss; `greedy`: the labels that are written; `rows`:
//!   what is computed at a node.

mod gradient;
mod greedy;
mod joint;
mod lattice;
mod rows;
#[cfg(test)]
mod tests;

pub use gradient::JointGrad;
pub use greedy::{After, Greedy};
pub use joint::Joint;
pub use lattice::TransducerLoss;

use crate::call::chunks_for;
use tidemill_graph::TransducerShape;

/// Nodes of a block.
const ROWS: usize = 48;

/// A sample of a joint network.
struct Sample<'a> {
    /// Positions.
    time: usize,
    /// The labels, cut to their number.
    labels: &'a [i32],
    /// Whether all are classes and none the blank.
    are_classes: bool,
}

impl Sample<'_> {
    /// The next label where `written` of them are there.
    fn next(&self, written: usize) -> Option<usize> {
        self.labels.get(written).map(|&label| label as usize)
    }
}

/// Sample `b` of labels, lengths and lengths of labels.
///
/// # Safety
/// The arguments have the sizes of the shape, and there is such a sample.
unsafe fn sample<'a>(shape: &TransducerShape, args: [*mut f32; 3], b: usize) -> Sample<'a> {
    let room = shape.written - 1;
    // SAFETY: by this function's contract.
    let (time, labels) = unsafe {
        let time = length(args[1], b, shape.time);
        let count = length(args[2], b, room);
        (time, std::slice::from_raw_parts(args[0].cast::<i32>().add(b * room), count))
    };
    let known = |&label: &i32| label > 0 && (label as usize) < shape.classes;
    Sample { time, labels, are_classes: labels.iter().all(known) }
}

/// The length of sample `b`, at most the room.
///
/// # Safety
/// There is an i32 for that sample.
unsafe fn length(lengths: *mut f32, b: usize, room: usize) -> usize {
    // SAFETY: by this function's contract.
    unsafe { (*lengths.cast::<i32>().add(b)).clamp(0, room as i32) as usize }
}

/// Nanoseconds of a node: of so many products, of the activation and of the softmax.
fn node_ns(shape: &TransducerShape, products: f64) -> f64 {
    let TransducerShape { units, classes, .. } = *shape;
    products * (units * classes) as f64 / 16.0 + (units + 2 * classes) as f64 / 2.0 + 20.0
}

/// Into how many chunks the samples are cut.
fn sample_chunks(shape: &TransducerShape, node_ns: f64) -> usize {
    chunks_for(shape.batch, shape.nodes() as f64 * node_ns)
}
