//! The state as tensors: copied out, copied over another one, taken over.

use std::borrow::Cow;

use safetensors::tensor::Dtype;
use tidemill_fields::DType;
use tidemill_graph::packed::{self, SlotType};

use super::{Element, Engine, EngineError, StateValues, error};

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
    /// A copy of the state, in a fixed order. What of it is in a file stays there, and changes with the next step. Slots that
    /// other workers keep are as they start unless [`Engine::has_all_slots`].
    pub fn state(&self) -> State {
        let slots = self.whole().iter().enumerate();
        let tensor = |(i, slot): (usize, &tidemill_plan::Slot)| StateTensor {
            name: slot.name.clone(),
            shape: slot.shape.clone(),
            parameter: slot.parameter,
            values: self.values_of(slot, i),
        };
        State { tensors: slots.map(tensor).collect() }
    }

    /// The values of a tensor of [`Engine::whole`]: floats, or the words of packed slots.
    fn values_of(&self, slot: &tidemill_plan::Slot, index: usize) -> StateValues {
        let values = match (self.place(index), self.kept_elsewhere(index)) {
            (Some(here), _) => match self.stored(here) {
                Some(stored) => return StateValues::Stored(stored),
                None => self.runtime.state(here).into(),
            },
            (None, values) => values.unwrap_or_default(),
        };
        match slot.dtype {
            DType::F32 => values.to_vec().into(),
            DType::I32 => values.iter().map(|v| v.to_bits() as i32).collect::<Vec<i32>>().into(),
        }
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
            let to = match &mut t.values {
                StateValues::F32(values) => values,
                StateValues::I32(words) => bytemuck::cast_slice_mut(words),
                _ => return None,
            };
            Some((self.runtime.state(i), to))
        }));
        true
    }

    /// All values of the state, tensor after tensor.
    pub fn flat_state(&self) -> Vec<f32> {
        self.values_at(0..self.kept)
    }

    /// Takes over what [`Engine::flat_state`] of an engine with the same model gave.
    ///
    /// # Errors
    /// If it has not as many values.
    pub fn set_flat_state(&mut self, values: &[f32]) -> Result<(), EngineError> {
        let places: Vec<usize> = (0..self.kept).collect();
        let found = values.len();
        self.set_values_at(&places, values).map_err(|wanted| {
            EngineError(format!("a state of {found} values, and the model has {wanted}"))
        })
    }

    /// The values of the tensors at these places, one after the other.
    pub(super) fn values_at(&self, places: impl Iterator<Item = usize>) -> Vec<f32> {
        places.flat_map(|i| self.runtime.state(i).iter().copied()).collect()
    }

    /// Sets the tensors at these places to what [`Engine::values_at`] of such an engine gave; the error is how many values they have.
    pub(super) fn set_values_at(&mut self, places: &[usize], values: &[f32]) -> Result<(), usize> {
        let wanted: usize = places.iter().map(|&i| self.runtime.state(i).len()).sum();
        if values.len() != wanted {
            return Err(wanted);
        }
        let mut rest = values;
        for &i in places {
            let own = self.runtime.state_mut(i);
            let (first, others) = rest.split_at(own.len());
            own.copy_from_slice(first);
            rest = others;
        }
        Ok(())
    }

    /// Takes over a state; names, shapes and types must be the same, but that an optimizer's slots may be packed in
    /// another way.
    pub fn set_state(&mut self, tensors: &[StateTensor]) -> Result<(), EngineError> {
        let slots = self.whole().to_vec();
        let mut values = Vec::with_capacity(slots.len());
        for slot in &slots {
            let Some(tensor) = tensors.iter().find(|t| t.name == slot.name) else {
                return Err(EngineError(format!(
                    "the model has the tensor {} {:?}, which the given state lacks",
                    slot.name, slot.shape
                )));
            };
            values.push(match (fits(slot, tensor), &tensor.values) {
                // Read when its turn comes: together they may be more than what is in memory.
                (true, StateValues::Stored(stored)) => Err(stored),
                (true, _) => Ok(taken(slot, tensor)?),
                (false, _) => Ok(match self.repacked(slot, held(tensor)?.as_ref()) {
                    Some(values) => values.into(),
                    None => taken(slot, tensor)?,
                }),
            });
        }
        if let Some(extra) = tensors.iter().find(|t| slots.iter().all(|s| s.name != t.name)) {
            return Err(EngineError(format!(
                "the given state has the tensor {} {:?}, which the model lacks",
                extra.name, extra.shape
            )));
        }
        for (i, values) in values.into_iter().enumerate() {
            let values = match values {
                Ok(values) => values,
                Err(stored) => {
                    let bytes = stored.read().map_err(error)?;
                    bytemuck::pod_collect_to_vec::<u8, f32>(&bytes).into()
                }
            };
            match (self.place(i), &mut self.parted) {
                (None, Some(parted)) => parted.others[i] = Some(values.into_owned()),
                (here, _) => self.set_values(here.unwrap_or(i), &values)?,
            }
        }
        Ok(())
    }

    /// The values of an optimizer's slot that the given state has packed in another way than this model.
    fn repacked(&self, slot: &tidemill_plan::Slot, tensor: &StateTensor) -> Option<Vec<f32>> {
        let (rule, place) = self.rule_of_slot(&slot.name)?;
        let code = rule.slot_code(place)?;
        let (parameter, _) = slot.name.rsplit_once('.')?;
        let shape = self.tensor_shape(self.find_tensor(parameter)?);
        let len = shape.iter().product();
        let elements = match &tensor.values {
            StateValues::F32(values) if tensor.shape == shape => values.clone(),
            StateValues::I32(words) => [SlotType::Bf16, SlotType::Bits8]
                .into_iter()
                .find(|slots| tensor.shape == [slots.words(len)])
                .map(|slots| packed::unpack(slots, code, len, words))?,
            _ => return None,
        };
        match self.spec.optimizer.slots().of(len) {
            SlotType::F32 => Some(elements),
            // to the nearest number
            slots => Some(bytemuck::cast_vec(packed::pack(slots, code, &elements, |_| 0x8000))),
        }
    }
}

/// The values of a tensor that is what the slot is.
fn taken<'t>(
    slot: &tidemill_plan::Slot,
    tensor: &'t StateTensor,
) -> Result<Cow<'t, [f32]>, EngineError> {
    let values = match slot.dtype {
        DType::F32 => tensor.elements()?,
        DType::I32 => bytemuck::cast_slice(tensor.elements::<i32>()?),
    };
    match tensor.shape == slot.shape {
        true => Ok(values.into()),
        false => Err(EngineError(format!(
            "the tensor {} is {:?} in the model and {:?} in the given state",
            slot.name, slot.shape, tensor.shape
        ))),
    }
}

/// A tensor with its values in memory.
fn held(tensor: &StateTensor) -> Result<Cow<'_, StateTensor>, EngineError> {
    Ok(match tensor.values.held().map_err(error)? {
        Cow::Borrowed(_) => Cow::Borrowed(tensor),
        Cow::Owned(values) => {
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            Cow::Owned(StateTensor { name, shape, parameter: tensor.parameter, values })
        }
    })
}

/// The type of a slot's values in files.
pub(super) fn dtype_of(slot: &tidemill_plan::Slot) -> Dtype {
    match slot.dtype {
        DType::F32 => Dtype::F32,
        DType::I32 => Dtype::I32,
    }
}

/// Whether a tensor may hold the values of a slot.
fn fits(slot: &tidemill_plan::Slot, tensor: &StateTensor) -> bool {
    tensor.shape == slot.shape && tensor.dtype() == dtype_of(slot)
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
