//! What runs plans: one state, one arena, any number of plans over them.
//!
//! Whoever drives training knows this and not the machine behind it: values go in by inputs and
//! [`Backend::upload`] and come out by [`Backend::output`] and [`Backend::download`], as copies, so that
//! a backend's memory may be anywhere.

use crate::plan::{Options, Plan, Slot};
use tidemill_graph::{DType, Graph};

/// An input of a plan.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Labels, ids, keys.
    I32(&'a [i32]),
}

/// Work that is done beside a step by whoever would wait otherwise, in pieces that any thread may do
/// at any time during the step: filling the next batch. It does the next piece, and says whether
/// there was one.
pub type Beside<'a> = &'a (dyn Fn() -> bool + Sync);

/// Names a plan of a backend: how many were added before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId(pub usize);

/// What was given does not fit the plan or the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name}: expected {expected}, found {found}")]
pub struct InputError {
    what: &'static str,
    name: String,
    expected: String,
    found: String,
}

impl InputError {
    /// A file of the state of which so many bytes could not be read or written.
    pub fn of_file(name: impl Into<String>, bytes: usize, found: impl Into<String>) -> InputError {
        let expected = format!("{bytes} bytes to be read or written");
        InputError {
            what: "the file of the state",
            name: name.into(),
            expected,
            found: found.into(),
        }
    }
}

/// A machine that runs plans.
pub trait Backend {
    /// Plans a graph whose state tensors are among the backend's, by name and shape, and makes the plan
    /// ready to run. Plans that were added before stay as they are.
    fn add(&mut self, graph: &Graph, options: Options) -> Result<PlanId, InputError>;

    /// The plan behind an id.
    fn plan(&self, id: PlanId) -> &Plan;

    /// Runs a plan on inputs in the order of [`Plan::inputs`], of which it may read more than it
    /// needs; all of the work beside it is done in the end.
    fn run(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        beside: Beside<'_>,
    ) -> Result<(), InputError>;

    /// Runs a plan up to its gate ([`Plan::gate`]), and continues from there only if `gate` says so. Says
    /// whether it did. A plan without a gate runs as a whole, and `gate` is not asked.
    fn run_gated(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        gate: &mut dyn FnMut(&dyn Backend) -> bool,
    ) -> Result<bool, InputError>;

    /// Copies output `index` of [`Plan::outputs`] of the plan that ran last; `into` has its length.
    fn output(&self, id: PlanId, index: usize, into: &mut [f32]) -> Result<(), InputError>;

    /// The state's tensors.
    fn slots(&self) -> &[Slot];

    /// Sets the values of a state tensor, by its place in [`Backend::slots`].
    fn upload(&mut self, slot: usize, values: &[f32]) -> Result<(), InputError>;

    /// Copies the values of a state tensor, by its place in [`Backend::slots`]; `into` has its length.
    fn download(&self, slot: usize, into: &mut [f32]) -> Result<(), InputError>;
}

/// That there are as many inputs as the plan has, each of its type and with at least its length.
pub fn check_inputs(slots: &[Slot], inputs: &[Input<'_>]) -> Result<(), InputError> {
    if slots.len() != inputs.len() {
        return Err(InputError {
            what: "input",
            name: "list".into(),
            expected: format!("{} inputs", slots.len()),
            found: inputs.len().to_string(),
        });
    }
    for (slot, input) in slots.iter().zip(inputs) {
        let (dtype, len) = match input {
            Input::F32(x) => (DType::F32, x.len()),
            Input::I32(x) => (DType::I32, x.len()),
        };
        if dtype != slot.dtype || len < slot.len() {
            return Err(InputError {
                what: "input",
                name: slot.name.clone(),
                expected: format!("{:?} {:?}", slot.dtype, slot.shape),
                found: format!("{len} values of {dtype:?}"),
            });
        }
    }
    Ok(())
}

/// That the caller gave as many values, or room for as many, as a tensor has.
pub fn check_length(
    what: &'static str,
    name: &str,
    len: usize,
    given: usize,
) -> Result<(), InputError> {
    if len == given {
        return Ok(());
    }
    Err(InputError {
        what,
        name: name.to_owned(),
        expected: format!("{len} values"),
        found: given.to_string(),
    })
}

/// The place of a state tensor among the backend's, by name and shape.
pub fn find_state(slots: &[Slot], wanted: &Slot) -> Result<usize, InputError> {
    let found = slots.iter().position(|s| s.name == wanted.name && s.shape == wanted.shape);
    found.ok_or_else(|| InputError {
        what: "state",
        name: wanted.name.clone(),
        expected: "a tensor of the backend's state".into(),
        found: format!("an unknown one of shape {:?}", wanted.shape),
    })
}
