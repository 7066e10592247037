//! The labels that a transducer writes: at each position the most probable of them, or the blank.

use super::rows::{AddFn, HiddenFn, add_on, hidden_on};
use super::{node_ns, sample_chunks};
use crate::call::{bytes, chunk_range, parts};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::simd::{load_n, store_n};
use tidemill_graph::{Transducer, TransducerShape};

/// `logits = bias + hidden kernel`, in the order of the kernel's rows.
#[inline(always)]
unsafe fn logits<S: Lanes>(
    hidden: *const f32,
    kernel: *const f32,
    bias: *const f32,
    out: *mut f32,
    sizes: [usize; 2],
) {
    let [units, classes] = sizes;
    // SAFETY: the operands have these sizes.
    unsafe {
        for c in (0..classes).step_by(S::LANES) {
            let n = classes - c;
            let mut sum = load_n::<S>(bias.add(c), n);
            for i in 0..units {
                let row = load_n::<S>(kernel.add(i * classes + c), n);
                sum = S::fma(S::splat(*hidden.add(i)), row, sum);
            }
            store_n::<S>(out.add(c), sum, n);
        }
    }
}
kernel!(fn logits_on(
    hidden: *const f32, kernel: *const f32, bias: *const f32, out: *mut f32, sizes: [usize; 2]
) = logits;);
type LogitsFn = unsafe fn(*const f32, *const f32, *const f32, *mut f32, [usize; 2]);

/// The class of the greatest logit, the first of equal ones.
fn greatest(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Puts a label that is not the blank before the others.
fn write(before: &mut [f32], label: usize) -> bool {
    if label == Transducer::BLANK {
        return false;
    }
    before.rotate_right(1);
    before[0] = label as f32;
    true
}

/// What is written. Arguments: `frames, tables, kernel, bias, before, logits`; the shape's `written` is the number of labels before. Chunks
/// are ranges of samples.
pub struct Greedy {
    shape: TransducerShape,
    chunks: usize,
    hidden: HiddenFn,
    logits: LogitsFn,
    add: AddFn,
}

impl Greedy {
    /// Of this shape.
    pub fn new(isa: Isa, shape: TransducerShape) -> Greedy {
        let of_positions = TransducerShape { written: 1, ..shape };
        Greedy {
            shape,
            chunks: sample_chunks(&of_positions, node_ns(&shape, 1.0)),
            hidden: hidden_on(isa),
            logits: logits_on(isa),
            add: add_on(isa),
        }
    }

    /// Floats of the labels before, of what they add to a position, and of hidden values.
    fn scratch(&self) -> [usize; 3] {
        [self.shape.written, self.shape.units, self.shape.units]
    }
}

impl Kernel for Greedy {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        bytes(&self.scratch())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let TransducerShape { batch, time, written: known, units, classes } = self.shape;
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        let [before, written, hidden] = parts(scratch, self.scratch());
        for b in start..end {
            // SAFETY: the arguments have the sizes of the shape; labels are cut to the classes.
            unsafe {
                let before = std::slice::from_raw_parts_mut(before, known);
                before.copy_from_slice(std::slice::from_raw_parts(args[4].add(b * known), known));
                let read = |before: &[f32]| {
                    std::slice::from_raw_parts_mut(written, units).fill(0.0);
                    for (k, &label) in before.iter().enumerate() {
                        let label = (label as usize).min(classes - 1);
                        (self.add)(args[1].add((k * classes + label) * units), written, units);
                    }
                };
                read(before);
                for row in b * time..(b + 1) * time {
                    let out = args[5].add(row * classes);
                    (self.hidden)(args[0].add(row * units), written, hidden, units);
                    (self.logits)(hidden, args[2], args[3], out, [units, classes]);
                    if write(before, greatest(std::slice::from_raw_parts(out, classes))) {
                        read(before);
                    }
                }
            }
        }
    }
}

/// The labels before the next position. Arguments: `logits, before, after`; the shape's `written` is their number.
pub struct After(pub TransducerShape);

impl Kernel for After {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _: usize, _: *mut f32) {
        let TransducerShape { batch, time, written: known, classes, .. } = self.0;
        for b in 0..batch {
            // SAFETY: the arguments have the sizes of the shape.
            unsafe {
                let after = std::slice::from_raw_parts_mut(args[2].add(b * known), known);
                after.copy_from_slice(std::slice::from_raw_parts(args[1].add(b * known), known));
                for row in b * time..(b + 1) * time {
                    let row = std::slice::from_raw_parts(args[0].add(row * classes), classes);
                    write(after, greatest(row));
                }
            }
        }
    }
}
