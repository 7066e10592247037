//! The values of a tensor of the state: arrays of one type each.

use safetensors::tensor::Dtype;

/// A type of values that tensors of the state may have.
pub trait Element: Copy {
    /// Its name in files.
    const DTYPE: Dtype;

    /// The values, if they are of this type.
    fn slice(values: &StateValues) -> Option<&[Self]>;

    /// The values to be changed, if they are of this type.
    fn slice_mut(values: &mut StateValues) -> Option<&mut [Self]>;
}

macro_rules! state_values {
    ($($dtype:ident($element:ty): $what:literal),*) => {
        /// The values of a tensor of the state. Parameters, optimizer slots and running statistics are
        /// `F32`; what is kept beside them has the type that it has in memory.
        #[derive(Clone, Debug, PartialEq)]
        pub enum StateValues {
            $(#[doc = $what] $dtype(Vec<$element>)),*
        }

        impl StateValues {
            /// Their type.
            pub fn dtype(&self) -> Dtype {
                match self { $(Self::$dtype(_) => Dtype::$dtype),* }
            }

            /// Their number.
            pub fn len(&self) -> usize {
                match self { $(Self::$dtype(values) => values.len()),* }
            }

            /// Their little-endian bytes.
            pub fn bytes(&self) -> &[u8] {
                match self { $(Self::$dtype(values) => bytemuck::cast_slice(values)),* }
            }

            /// The values of such bytes, which need not be aligned; none if tensors of the state have
            /// no such type.
            pub(crate) fn of_bytes(dtype: Dtype, bytes: &[u8]) -> Option<StateValues> {
                Some(match dtype {
                    $(Dtype::$dtype => Self::$dtype(bytemuck::pod_collect_to_vec(bytes)),)*
                    _ => return None,
                })
            }
        }

        $(impl Element for $element {
            const DTYPE: Dtype = Dtype::$dtype;

            fn slice(values: &StateValues) -> Option<&[$element]> {
                match values {
                    StateValues::$dtype(values) => Some(values),
                    _ => None,
                }
            }

            fn slice_mut(values: &mut StateValues) -> Option<&mut [$element]> {
                match values {
                    StateValues::$dtype(values) => Some(values),
                    _ => None,
                }
            }
        }

        impl From<Vec<$element>> for StateValues {
            fn from(values: Vec<$element>) -> StateValues {
                StateValues::$dtype(values)
            }
        })*
    };
}

state_values! {
    F32(f32): "Floats of 32 bits: all that a model learns.",
    F64(f64): "Floats of 64 bits: sums over a run.",
    I32(i32): "Integers: labels, ids, lengths.",
    I64(i64): "Counts of other programs.",
    U64(u64): "Counts.",
    U8(u8): "Bytes."
}

/// [`StateValues::bytes`] are little-endian on little-endian machines, which are all that this runs on.
const _: () = assert!(cfg!(target_endian = "little"));

impl StateValues {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether none of them is infinite or not a number.
    pub fn is_finite(&self) -> bool {
        match self {
            StateValues::F32(values) => values.iter().all(|v| v.is_finite()),
            StateValues::F64(values) => values.iter().all(|v| v.is_finite()),
            StateValues::I32(_)
            | StateValues::I64(_)
            | StateValues::U64(_)
            | StateValues::U8(_) => true,
        }
    }
}
