//! The state as tensors: copied out, copied over another one, taken over.

use safetensors::tensor::Dtype;

use super::{Element, Engine, EngineError, StateValues};

/// One tensor of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// Such as `layers.1.dense.kernel` or `layers.1.dense.kernel.m`.
    pub name: String,
    /// Dims.
    pub shape: Vec<usize>,
    /// Whether it is a parameter (else a slot or a running statistic).
    pub parameter: bool,
    /// Its values.
    pub values: StateValues,
}

impl StateTensor {
    /// The type of its values.
    pub fn dtype(&self) -> Dtype {
        self.values.dtype()
    }

    /// Its values of a type.
    ///
    /// # Errors
    /// If they are of another type, as where an earlier version kept whole numbers in floats.
    pub fn elements<T: Element>(&self) -> Result<&[T], EngineError> {
        T::slice(&self.values).ok_or_else(|| {
            let (name, found, expected) = (&self.name, self.dtype(), T::DTYPE);
            let mut what = format!("the tensor {name} is {found}, and {expected} is expected");
            if found == Dtype::F32 {
                what += ": the run was written by an earlier version; help: continue it with that \
                         version, or start another run";
            }
            EngineError(what)
        })
    }
}

/// All that a checkpoint holds of the model: parameters, optimizer slots, running statistics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    tensors: Vec<StateTensor>,
}

impl State {
    /// All tensors, in a fixed order.
    pub fn tensors(&self) -> &[StateTensor] {
        &self.tensors
    }

    /// All tensors, to be changed.
    pub fn tensors_mut(&mut self) -> &mut [StateTensor] {
        &mut self.tensors
    }

    /// The tensors themselves.
    pub fn into_tensors(self) -> Vec<StateTensor> {
        self.tensors
    }

    /// A state of these tensors.
    pub fn from_tensors(tensors: Vec<StateTensor>) -> State {
        State { tensors }
    }
}

impl Engine {
    /// A copy of the state, in a fixed order.
    pub fn state(&self) -> State {
        let slots = self.slots().iter().enumerate();
        let tensor = |(i, slot): (usize, &tidemill_plan::Slot)| StateTensor {
            name: slot.name.clone(),
            shape: slot.shape.clone(),
            parameter: slot.parameter,
            values: self.runtime.state(i).to_vec().into(),
        };
        State { tensors: slots.map(tensor).collect() }
    }

    /// Copies the state over another one of this model, into the memory that has; by several
    /// threads where it is large. Fresh memory would cost twice the time.
    pub fn copy_state(&self, to: &mut State) {
        let slots = self.slots();
        let same =
            |(slot, t): (&tidemill_plan::Slot, &StateTensor)| t.name == slot.name && fits(slot, t);
        if slots.len() != to.tensors.len() || !slots.iter().zip(&to.tensors).all(same) {
            *to = self.state();
            return;
        }
        self.copy_values(to);
    }

    /// Copies the state's values over another one, whatever its tensors are called; not, and false,
    /// if their number or sizes differ.
    pub fn copy_values(&self, to: &mut State) -> bool {
        let slots = self.slots();
        if slots.len() != to.tensors.len()
            || !slots.iter().zip(&to.tensors).all(|(slot, t)| fits(slot, t))
        {
            return false;
        }
        let tensors = to.tensors.iter_mut().enumerate();
        copy_all(tensors.filter_map(|(i, t)| {
            let to = f32::slice_mut(&mut t.values)?;
            Some((self.runtime.state(i), to))
        }));
        true
    }

    /// All values of the state, tensor after tensor.
    pub fn flat_state(&self) -> Vec<f32> {
        (0..self.kept).flat_map(|i| self.runtime.state(i).iter().copied()).collect()
    }

    /// Takes over what [`Engine::flat_state`] of an engine with the same model gave.
    ///
    /// # Errors
    /// If it has not as many values.
    pub fn set_flat_state(&mut self, values: &[f32]) -> Result<(), EngineError> {
        let wanted: usize = self.slots().iter().map(|slot| slot.len()).sum();
        if values.len() != wanted {
            let found = values.len();
            return Err(EngineError(format!(
                "a state of {found} values, and the model has {wanted}"
            )));
        }
        let mut rest = values;
        for i in 0..self.kept {
            let own = self.runtime.state_mut(i);
            let (first, others) = rest.split_at(own.len());
            own.copy_from_slice(first);
            rest = others;
        }
        Ok(())
    }

    /// Takes over a state; names and shapes must be the same, and values `F32`.
    pub fn set_state(&mut self, tensors: &[StateTensor]) -> Result<(), EngineError> {
        let slots = self.slots().to_vec();
        for slot in &slots {
            let Some(tensor) = tensors.iter().find(|t| t.name == slot.name) else {
                return Err(EngineError(format!(
                    "the model has the tensor {} {:?}, which the given state lacks",
                    slot.name, slot.shape
                )));
            };
            tensor.elements::<f32>()?;
            if tensor.shape != slot.shape {
                return Err(EngineError(format!(
                    "the tensor {} is {:?} in the model and {:?} in the given state",
                    slot.name, slot.shape, tensor.shape
                )));
            }
        }
        if let Some(extra) = tensors.iter().find(|t| slots.iter().all(|s| s.name != t.name)) {
            return Err(EngineError(format!(
                "the given state has the tensor {} {:?}, which the model lacks",
                extra.name, extra.shape
            )));
        }
        for (i, slot) in slots.iter().enumerate() {
            if let Some(tensor) = tensors.iter().find(|t| t.name == slot.name) {
                self.runtime.state_mut(i).copy_from_slice(tensor.elements()?);
            }
        }
        Ok(())
    }
}

/// Whether a tensor may hold the values of a slot.
fn fits(slot: &tidemill_plan::Slot, tensor: &StateTensor) -> bool {
    tensor.shape == slot.shape && tensor.dtype() == Dtype::F32
}

/// Values that a thread copies at least: starting one costs as much as copying some of them.
const COPIED_AT_ONCE: usize = 1 << 20;

/// Copies slices over others of the same lengths. Two threads saturate the memory of a machine
/// with few cores, and four most others.
fn copy_all<'a>(pairs: impl Iterator<Item = (&'a [f32], &'a mut [f32])>) {
    let pieces: Vec<(&[f32], &mut [f32])> = pairs
        .flat_map(|(from, to)| from.chunks(COPIED_AT_ONCE).zip(to.chunks_mut(COPIED_AT_ONCE)))
        .collect();
    let total: usize = pieces.iter().map(|(from, _)| from.len()).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (total / COPIED_AT_ONCE).min(cores).clamp(1, 4);
    let work = std::sync::Mutex::new(pieces.into_iter());
    let copy = || {
        while let Some((from, to)) = work.lock().ok().and_then(|mut w| w.next()) {
            to.copy_from_slice(from);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(copy);
        }
        copy();
    });
}
