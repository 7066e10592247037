//! The values of a tensor of the state: arrays of one type each, or a part of a file.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
            $(#[doc = $what] $dtype(Vec<$element>),)*
            /// Values that stay in a file until they are read.
            Stored(Stored),
        }

        impl StateValues {
            /// Their type.
            pub fn dtype(&self) -> Dtype {
                match self {
                    $(Self::$dtype(_) => Dtype::$dtype,)*
                    Self::Stored(stored) => stored.dtype,
                }
            }

            /// Their number.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$dtype(values) => values.len(),)*
                    Self::Stored(stored) => stored.len,
                }
            }

            /// Their little-endian bytes.
            ///
            /// # Errors
            /// If they are in a file that cannot be read.
            pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
                match self {
                    $(Self::$dtype(values) => Ok(Cow::Borrowed(bytemuck::cast_slice(values))),)*
                    Self::Stored(stored) => stored.read().map(Cow::Owned),
                }
            }

            /// Gives `take` their bytes, those of a file part by part.
            ///
            /// # Errors
            /// If they are in a file that cannot be read.
            pub(crate) fn each_part(&self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
                match self {
                    $(Self::$dtype(values) => take(bytemuck::cast_slice(values)),)*
                    Self::Stored(stored) => return stored.each_part(take),
                }
                Ok(())
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
    ///
    /// # Errors
    /// If they are in a file that cannot be read.
    pub fn is_finite(&self) -> io::Result<bool> {
        Ok(match self {
            StateValues::F32(values) => values.iter().all(|v| v.is_finite()),
            StateValues::F64(values) => values.iter().all(|v| v.is_finite()),
            StateValues::Stored(stored) if stored.dtype == Dtype::F32 => {
                let mut finite = true;
                stored.each_part(&mut |part| {
                    let words = part.chunks_exact(4);
                    finite &= words
                        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                        .all(f32::is_finite);
                })?;
                finite
            }
            StateValues::Stored(stored) if stored.dtype == Dtype::F64 => {
                self.held()?.is_finite()?
            }
            StateValues::Stored(_)
            | StateValues::I32(_)
            | StateValues::I64(_)
            | StateValues::U64(_)
            | StateValues::U8(_) => true,
        })
    }

    /// The same values in memory.
    ///
    /// # Errors
    /// If they are in a file that cannot be read.
    pub fn held(&self) -> io::Result<Cow<'_, StateValues>> {
        let StateValues::Stored(stored) = self else { return Ok(Cow::Borrowed(self)) };
        let values = StateValues::of_bytes(stored.dtype, &stored.read()?);
        values.map(Cow::Owned).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Bytes of a file that are read at once.
const PART: usize = 1 << 20;

/// Values in a file.
#[derive(Clone, Debug)]
pub struct Stored {
    file: Arc<File>,
    /// Where their bytes begin.
    at: u64,
    len: usize,
    dtype: Dtype,
    /// Set when they are of an unfinished step.
    broken: Option<Arc<AtomicBool>>,
}

impl PartialEq for Stored {
    /// Whether they are the same part of the same file.
    fn eq(&self, other: &Stored) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && self.at == other.at && self.len == other.len
    }
}

impl Stored {
    pub(crate) fn new(
        file: Arc<File>,
        at: u64,
        len: usize,
        dtype: Dtype,
        broken: Option<Arc<AtomicBool>>,
    ) -> Stored {
        Stored { file, at, len, dtype, broken }
    }

    fn num_bytes(&self) -> usize {
        self.len * self.dtype.bitsize() / 8
    }

    /// Their bytes.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut all = vec![0; self.num_bytes()];
        for (part, at) in all.chunks_mut(PART).zip((self.at..).step_by(PART)) {
            self.read_at(part, at)?;
        }
        Ok(all)
    }

    fn each_part(&self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut part = vec![0; PART.min(self.num_bytes())];
        for from in (0..self.num_bytes()).step_by(PART) {
            let part = &mut part[..PART.min(self.num_bytes() - from)];
            self.read_at(part, self.at + from as u64)?;
            take(part);
        }
        Ok(())
    }

    fn read_at(&self, part: &mut [u8], at: u64) -> io::Result<()> {
        if self.broken.as_ref().is_some_and(|broken| broken.load(Relaxed)) {
            return Err(io::Error::other("a step that was not finished has left half of it"));
        }
        #[cfg(unix)]
        std::os::unix::fs::FileExt::read_exact_at(&*self.file, part, at)?;
        #[cfg(not(unix))]
        {
            use std::io::{Read, Seek, SeekFrom};
            let mut file = &*self.file;
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(part)?;
        }
        // It is read once: its pages would only push others out, and count where memory is limited.
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Advice, fadvise};
            let len = std::num::NonZeroU64::new(part.len() as u64);
            fadvise(&*self.file, at, len, Advice::DontNeed)?;
        }
        Ok(())
    }
}
