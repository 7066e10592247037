//! The logarithms of the probabilities of the blank and of the next label.

use super::rows::{HiddenFn, LogPFn, Logits, hidden_on, log_p_on};
use super::{ROWS, node_ns, sample};
use crate::call::{bytes, chunk_range, chunks_for, parts};
use crate::gemm::blocks::{Blocks, Panels};
use crate::isa::Isa;
use crate::kernel::Kernel;
use tidemill_graph::{Transducer, TransducerShape};

/// The joint network. Arguments: `frames, written, kernel, bias, labels, lengths, label_lengths, log_p`. Chunks are ranges of positions.
pub struct Joint {
    shape: TransducerShape,
    chunks: usize,
    blocks: Blocks,
    hidden: HiddenFn,
    log_p: LogPFn,
}

impl Joint {
    /// Of this shape.
    pub fn new(isa: Isa, shape: TransducerShape) -> Joint {
        let ns = shape.written as f64 * node_ns(&shape, 1.0);
        Joint {
            shape,
            chunks: chunks_for(shape.batch * shape.time, ns),
            blocks: Blocks::new(isa),
            hidden: hidden_on(isa),
            log_p: log_p_on(isa),
        }
    }

    /// Floats of the packed kernel, of hidden values and of logits.
    fn scratch(&self) -> [usize; 3] {
        let TransducerShape { units, classes, .. } = self.shape;
        [self.blocks.panels_len(units, classes), ROWS * units, ROWS * classes]
    }

    /// Some nodes of a sample, one after the other, from node `from` on, of those that its labels lead to.
    ///
    /// # Safety
    /// As for `run`; the nodes are those of the sample.
    unsafe fn block(
        &self,
        args: &[*mut f32],
        (b, own): (usize, &super::Sample<'_>),
        (from, count): (usize, usize),
        (kernel, hidden, logits): (Panels, *mut f32, *mut f32),
    ) {
        let TransducerShape { time, written, units, classes, .. } = self.shape;
        let columns = own.labels.len() + 1;
        let node = |i: usize| ((from + i) / columns, (from + i) % columns);
        // SAFETY: by this function's contract.
        unsafe {
            for i in 0..count {
                let (t, u) = node(i);
                let frames = args[0].add((b * time + t) * units);
                let before = args[1].add((b * written + u) * units);
                (self.hidden)(frames, before, hidden.add(i * units), units);
            }
            self.blocks.product(count, [classes, units], hidden, kernel, logits, false);
            for i in 0..count {
                let (t, u) = node(i);
                let next = own.next(u);
                let [blank, label] = (self.log_p)(&Logits {
                    logits: logits.add(i * classes),
                    bias: args[3],
                    classes,
                    label: next.unwrap_or(Transducer::BLANK),
                    slopes: [0.0; 2],
                });
                let to = args[7].add(2 * ((b * time + t) * written + u));
                *to = blank;
                *to.add(1) = if next.is_some() { label } else { 0.0 };
            }
        }
    }
}

impl Kernel for Joint {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        bytes(&self.scratch())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let TransducerShape { batch, time, written, units, classes } = self.shape;
        let [packed, hidden, logits] = parts(scratch, self.scratch());
        let (start, end) = chunk_range(batch * time, self.chunks, 1, chunk);
        // SAFETY: the arguments have the sizes of the shape; lengths are cut to them.
        unsafe {
            let kernel = self.blocks.pack(args[2], classes, (units, classes), packed);
            let of_position = 2 * written;
            let out = std::slice::from_raw_parts_mut(
                args[7].add(start * of_position),
                (end - start) * of_position,
            );
            out.fill(0.0);
            for b in start / time..end.div_ceil(time) {
                let own = sample(&self.shape, [args[4], args[5], args[6]], b);
                let from = start.saturating_sub(b * time);
                let to = (end - b * time).min(own.time);
                let columns = own.labels.len() + 1;
                if !own.are_classes {
                    for t in from..to {
                        let row = args[7].add((b * time + t) * of_position);
                        std::slice::from_raw_parts_mut(row, 2 * columns).fill(f32::NAN);
                        *row.add(2 * columns - 1) = 0.0;
                    }
                    continue;
                }
                let nodes = from * columns..to.max(from) * columns;
                for at in nodes.clone().step_by(ROWS) {
                    let count = ROWS.min(nodes.end - at);
                    self.block(args, (b, &own), (at, count), (kernel, hidden, logits));
                }
            }
        }
    }
}
