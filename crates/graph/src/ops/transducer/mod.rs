//! The recurrent neural network transducer (Graves 2012): labels that are written while a sequence is read, each by what was read and
//! what was written before.
//!
//! A node `(t, u)` is a position `t` of which `u` labels are written. From there either the next label is written, or the blank, which goes
//! to the next position. `joint(t, u) = tanh(frames[t] + written[u]) kernel + bias` are the logits of both. Where a way writes at most one
//! label at a position, a label goes to the next position too ([`PerPosition`]).

mod reference;

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};
use reference::{Lattice, Naive, before, greatest, greedy, within, write};

/// A transducer's probabilities, its loss, and the labels that it writes.
///
/// What is beyond a sample's length or number of labels is not read; it is 0 in outputs and gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transducer {
    /// `(frames[b, t, h], written[b, u + 1, h], kernel[h, v], bias[v], labels i32[b, u], lengths i32[b], label_lengths i32[b]) ->
    /// log_p[b, t, u + 1, 2]`: the logarithms of the probabilities of the blank and of the next label, at each node. Those of other labels
    /// are not kept. A label that is no class, or that is the blank, gives NaN for its sample.
    Joint,
    /// `(..., dlog_p) ->` the gradient of that input.
    JointGrad(JointInput),
    /// `(log_p[b, t, u + 1, 2], lengths i32[b], label_lengths i32[b]) -> loss[b]`: minus the logarithm of the probability of all ways to
    /// write all labels and to go past the last position. 0 for a sample that has none: without positions, or with fewer than labels where
    /// a way writes one at most.
    Loss(PerPosition),
    /// `(..., dloss) -> dlog_p`
    LossGrad(PerPosition),
    /// `(frames[b, t, h], tables[k, v, h], kernel[h, v], bias[v], before[b, k]) -> logits[b, t, v]`: a label or the blank is written at each
    /// position, whichever is the more probable. `written` is the sum of a row of each table, that of the last label, of the one before, and
    /// so on; `before` are those that were written before the first position, the last one first, 0 where there is none.
    Greedy,
    /// `(logits[b, t, v], before[b, k]) -> after[b, k]`: the labels before the next position.
    After,
}

/// How many labels a way writes at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerPosition {
    /// Any number: a label leads to the node of the same position that has one label more (Graves 2012).
    Any,
    /// One at most, as [`Transducer::Greedy`] does: a label leads to the next position (Sak et al. 2017, Tripathi et al. 2019).
    One,
}

impl PerPosition {
    /// Whether so many labels can be written at so many positions.
    pub fn has_room(self, positions: usize, labels: usize) -> bool {
        positions > 0 && (self == PerPosition::Any || labels <= positions)
    }
}

/// An input of [`Transducer::Joint`] that has a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JointInput {
    /// `frames`
    Frames,
    /// `written`
    Written,
    /// `kernel`
    Kernel,
    /// `bias`
    Bias,
}

impl JointInput {
    /// All, in the order of the inputs.
    pub const ALL: [JointInput; 4] =
        [JointInput::Frames, JointInput::Written, JointInput::Kernel, JointInput::Bias];
}

/// The sizes of a transducer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransducerShape {
    /// Samples.
    pub batch: usize,
    /// Room for positions.
    pub time: usize,
    /// Room for numbers of labels written: one more than that for labels.
    pub written: usize,
    /// Values of a position.
    pub units: usize,
    /// Classes, with the blank.
    pub classes: usize,
}

impl TransducerShape {
    /// From the dims of `frames`, `written` and `kernel`.
    pub fn new(frames: &[usize], written: &[usize], kernel: &[usize]) -> TransducerShape {
        TransducerShape {
            batch: frames[0],
            time: frames[1],
            written: written[1],
            units: kernel[0],
            classes: kernel[1],
        }
    }

    /// Nodes of a sample.
    pub fn nodes(&self) -> usize {
        self.time * self.written
    }

    /// Floating point operations of an op; transcendental functions count as ten.
    pub fn flops(&self, op: Transducer) -> usize {
        let nodes = self.batch * self.nodes();
        let of_node = |products: usize| {
            2 * products * self.units * self.classes + 12 * self.units + 15 * self.classes
        };
        match op {
            Transducer::Joint => nodes * of_node(1),
            Transducer::JointGrad(_) => nodes * of_node(3),
            Transducer::Loss(_) => 30 * nodes,
            Transducer::LossGrad(_) => 90 * nodes,
            Transducer::Greedy => self.batch * self.time * of_node(1),
            Transducer::After => 0,
        }
    }
}

impl Transducer {
    /// The class that stands for no label.
    pub const BLANK: usize = 0;

    /// What its kernel is called; all gradients of the joint network come from one.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Transducer::Joint => "transducer joint",
            Transducer::JointGrad(_) => "transducer joint grad",
            Transducer::Loss(_) => "transducer",
            Transducer::LossGrad(_) => "transducer grad",
            Transducer::Greedy => "transducer greedy",
            Transducer::After => "transducer after",
        }
    }
}

const F: Input = Input::FLOAT;
const LENGTHS: Input = Input::integer("lengths");
const LABEL_LENGTHS: Input = Input::integer("lengths of labels");

impl Family for Transducer {
    fn name(&self) -> &'static str {
        match self {
            Transducer::Joint => "transducer_joint",
            Transducer::JointGrad(JointInput::Frames) => "transducer_joint_grad_frames",
            Transducer::JointGrad(JointInput::Written) => "transducer_joint_grad_written",
            Transducer::JointGrad(JointInput::Kernel) => "transducer_joint_grad_kernel",
            Transducer::JointGrad(JointInput::Bias) => "transducer_joint_grad_bias",
            Transducer::Loss(PerPosition::Any) => "transducer",
            Transducer::Loss(PerPosition::One) => "transducer_one",
            Transducer::LossGrad(PerPosition::Any) => "transducer_grad",
            Transducer::LossGrad(PerPosition::One) => "transducer_one_grad",
            Transducer::Greedy => "transducer_greedy",
            Transducer::After => "transducer_after",
        }
    }

    fn inputs(&self) -> Inputs {
        const JOINT: &[Input] = &[F, F, F, F, Input::integer("labels"), LENGTHS, LABEL_LENGTHS, F];
        const LOSS: &[Input] = &[F, LENGTHS, LABEL_LENGTHS, F];
        Inputs::Each(match self {
            Transducer::Joint => &JOINT[..7],
            Transducer::JointGrad(_) => JOINT,
            Transducer::Loss(_) => &LOSS[..3],
            Transducer::LossGrad(_) => LOSS,
            Transducer::Greedy => &[F, F, F, F, F],
            Transducer::After => &[F, F],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        match self {
            Transducer::Joint | Transducer::JointGrad(_) => {
                let [batch, time, units] = dims.rank(0, "frames", "batch, time, units")?;
                let [_, written, _] = dims.rank(1, "written", "batch, labels + 1, units")?;
                let [_, classes] = dims.rank(2, "the kernel", "units, classes")?;
                dims.expect(1, "written", &[batch, written, units])?;
                self.check_classes(dims, units, classes)?;
                dims.expect(4, "labels", &[batch, written.saturating_sub(1)])?;
                dims.expect(5, "lengths", &[batch])?;
                dims.expect(6, "lengths of labels", &[batch])?;
                let log_p = vec![batch, time, written, 2];
                let Transducer::JointGrad(input) = self else { return Ok(log_p) };
                dims.expect(7, "the gradient", &log_p)?;
                Ok(dims.of(*input as usize).to_vec())
            }
            Transducer::Loss(_) | Transducer::LossGrad(_) => {
                let [batch, _, _, two] = dims.rank(0, "log_p", "batch, time, labels + 1, 2")?;
                dims.check(two == 2, || format!("log_p has a pair at each node, found {two}"))?;
                dims.expect(1, "lengths", &[batch])?;
                dims.expect(2, "lengths of labels", &[batch])?;
                if matches!(self, Transducer::Loss(_)) {
                    return Ok(vec![batch]);
                }
                dims.expect(3, "the gradient of the loss", &[batch])?;
                Ok(dims.of(0).to_vec())
            }
            Transducer::Greedy => {
                let [batch, time, units] = dims.rank(0, "frames", "batch, time, units")?;
                let [before, _, _] = dims.rank(1, "tables", "labels before, classes, units")?;
                let [_, classes] = dims.rank(2, "the kernel", "units, classes")?;
                dims.expect(1, "tables", &[before, classes, units])?;
                self.check_classes(dims, units, classes)?;
                dims.expect(4, "the labels before", &[batch, before])?;
                Ok(vec![batch, time, classes])
            }
            Transducer::After => {
                let [batch, _, _] = dims.rank(0, "logits", "batch, time, classes")?;
                let [_, before] = dims.rank(1, "the labels before", "batch, labels")?;
                dims.expect(1, "the labels before", &[batch, before])?;
                Ok(vec![batch, before])
            }
        }
    }

    /// At each node, with `e` the gradients of both logarithms: `dlogits = e - (sum of e) p`.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let inputs = [&node.x[..], &[node.dy]].concat();
        match self {
            Transducer::Joint => {
                for (i, input) in JointInput::ALL.into_iter().enumerate() {
                    if back.needs(node, i) {
                        let dx = back.apply(Transducer::JointGrad(input), &inputs)?;
                        back.give(node, i, dx)?;
                    }
                }
                Ok(())
            }
            Transducer::Loss(per_position) => {
                if back.needs(node, 0) {
                    let dx = back.apply(Transducer::LossGrad(*per_position), &inputs)?;
                    back.give(node, 0, dx)?;
                }
                Ok(())
            }
            Transducer::Greedy | Transducer::After => {
                Err(GraphError::new("what a transducer writes has no gradient")
                    .help("take the loss transducer"))
            }
            Transducer::JointGrad(_) | Transducer::LossGrad(_) => back.no_second_derivative(node),
        }
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let mut out = args.zeros();
        match self {
            Transducer::Joint => Naive::new(args).joint(&mut out),
            Transducer::JointGrad(input) => {
                Naive::new(args).gradient(args.floats(7), *input, &mut out)
            }
            Transducer::Loss(per_position) | Transducer::LossGrad(per_position) => {
                let [_, time, written, _] = *args.dims(0) else { return Ok(out.into()) };
                let of_sample = 2 * time * written;
                for (b, log_p) in args.floats(0).chunks(of_sample).enumerate() {
                    let length = within(args.ints(1)[b], time);
                    let labels = within(args.ints(2)[b], written - 1);
                    if !per_position.has_room(length, labels) {
                        continue;
                    }
                    let lattice = Lattice::new(*per_position, log_p, written, [length, labels]);
                    if matches!(self, Transducer::Loss(_)) {
                        out[b] = T::ZERO - lattice.total;
                    } else {
                        let to = &mut out[b * of_sample..][..of_sample];
                        lattice.gradient(log_p, args.floats(3)[b], to);
                    }
                }
            }
            Transducer::Greedy => greedy(args, &mut out),
            Transducer::After => {
                let [_, time, classes] = *args.dims(0) else { return Ok(out.into()) };
                let count = args.dims(1)[1];
                for (b, logits) in args.floats(0).chunks(time * classes).enumerate() {
                    let mut before = before(args, 1, b);
                    logits.chunks(classes).for_each(|row| write(&mut before, greatest(row)));
                    for (out, label) in out[b * count..].iter_mut().zip(before) {
                        *out = T::count(label);
                    }
                }
            }
        }
        Ok(out.into())
    }
}

impl Transducer {
    fn check_classes(
        &self,
        dims: &Dims<'_>,
        units: usize,
        classes: usize,
    ) -> Result<(), GraphError> {
        dims.expect(2, "the kernel", &[units, classes])?;
        dims.expect(3, "the bias", &[classes])?;
        dims.check(classes >= 2, || {
            format!("{classes} class leaves none beside the blank; there is one for each label, and the blank")
        })
    }
}
