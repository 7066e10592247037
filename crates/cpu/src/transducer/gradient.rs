//! The gradients of the joint network.

use super::rows::{
    AddFn, HiddenFn, Logits, SlopeFn, SpreadFn, add_on, hidden_on, slope_on, spread_on,
};
use super::{ROWS, node_ns, sample, sample_chunks};
use crate::call::{bytes, chunk_range, parts};
use crate::gemm::blocks::{Blocks, Panels};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::optimizer::Coefficients;
use tidemill_graph::{Transducer, TransducerShape};

/// All gradients of the joint network. Arguments: `frames, written, kernel, bias, labels, lengths, label_lengths, dlog_p, dframes, dwritten,
/// partials`. Chunks are ranges of samples; each has its own sum of the gradients of kernel and bias, one after the other, among the
/// partials.
pub struct JointGrad {
    shape: TransducerShape,
    chunks: usize,
    blocks: Blocks,
    hidden: HiddenFn,
    slope: SlopeFn,
    spread: SpreadFn,
    add: AddFn,
}

/// A node that has a gradient.
#[derive(Clone, Copy)]
struct Node {
    /// Which position of all samples.
    frame: usize,
    /// Which row of what is written, of all samples.
    written: usize,
    /// The next label; the blank where there is none.
    label: usize,
    slopes: [f32; 2],
}

/// The scratch memory and the tensors of a chunk.
struct Room<'a> {
    args: &'a [*mut f32],
    kernel: Panels,
    transposed: Panels,
    /// `[ROWS, units]`
    hidden: *mut f32,
    dhidden: *mut f32,
    /// `[ROWS, classes]`
    logits: *mut f32,
    /// `[classes]`: a block's gradient of the bias, so that sums of many nodes keep their digits.
    of_block: *mut f32,
    dkernel: *mut f32,
    dbias: *mut f32,
}

impl JointGrad {
    /// Of this shape.
    pub fn new(isa: Isa, shape: TransducerShape) -> JointGrad {
        JointGrad {
            shape,
            chunks: sample_chunks(&shape, node_ns(&shape, 3.0)),
            blocks: Blocks::new(isa),
            hidden: hidden_on(isa),
            slope: slope_on(isa),
            spread: spread_on(isa),
            add: add_on(isa),
        }
    }

    /// The number of partial sums.
    pub fn partials(&self) -> usize {
        self.chunks
    }

    /// Floats of one: of the kernel, then of the bias.
    pub fn partial_len(&self) -> usize {
        (self.shape.units + 1) * self.shape.classes
    }

    /// Floats of the packed kernel, its transpose, hidden values, their gradients, logits, and the bias's gradient of a block.
    fn scratch(&self) -> [usize; 6] {
        let TransducerShape { units, classes, .. } = self.shape;
        [
            self.blocks.panels_len(units, classes),
            self.blocks.panels_len(classes, units),
            ROWS * units,
            ROWS * units,
            ROWS * classes,
            classes,
        ]
    }

    /// At most [`ROWS`] nodes.
    ///
    /// # Safety
    /// The room is that of `run`, and has these nodes.
    unsafe fn block(&self, nodes: &[Node], room: &Room<'_>) {
        let TransducerShape { units, classes, .. } = self.shape;
        let rows = nodes.len();
        // SAFETY: by this function's contract.
        unsafe {
            for (i, node) in nodes.iter().enumerate() {
                let frames = room.args[0].add(node.frame * units);
                let written = room.args[1].add(node.written * units);
                (self.hidden)(frames, written, room.hidden.add(i * units), units);
            }
            let sizes = [classes, units];
            self.blocks.product(rows, sizes, room.hidden, room.kernel, room.logits, false);
            std::slice::from_raw_parts_mut(room.of_block, classes).fill(0.0);
            for (i, &Node { label, slopes, .. }) in nodes.iter().enumerate() {
                let logits = room.logits.add(i * classes);
                let row = Logits { logits, bias: room.args[3], classes, label, slopes };
                (self.slope)(&row, room.of_block);
            }
            (self.add)(room.of_block, room.dbias, classes);
            self.add_to_kernel(rows, room);
            let sizes = [units, classes];
            self.blocks.product(rows, sizes, room.logits, room.transposed, room.dhidden, false);
            for (i, node) in nodes.iter().enumerate() {
                let to = [(8, node.frame), (9, node.written)]
                    .map(|(argument, row)| room.args[argument].add(row * units));
                (self.spread)(room.hidden.add(i * units), room.dhidden.add(i * units), to, units);
            }
        }
    }

    /// `dkernel += hidden' dlogits`
    ///
    /// # Safety
    /// As for `block`, of so many rows.
    unsafe fn add_to_kernel(&self, rows: usize, room: &Room<'_>) {
        let TransducerShape { units, classes, .. } = self.shape;
        let none = Coefficients::default();
        let panel = self.blocks.panel();
        let strips = units.div_ceil(self.blocks.strip());
        for j in (0..classes).step_by(panel) {
            let of_columns = Panels { at: room.logits.wrapping_add(j), step: classes, panel };
            for strip in 0..strips {
                let [from, to] = [strip, strip + 1].map(|i| units * i / strips);
                // SAFETY: by this function's contract.
                unsafe {
                    self.blocks.strip_product(
                        true,
                        [to - from, panel.min(classes - j), rows],
                        (room.hidden.add(from), units),
                        of_columns,
                        (room.dkernel.add(from * classes + j), classes),
                        true,
                        &none,
                    );
                }
            }
        }
    }
}

impl Kernel for JointGrad {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        bytes(&self.scratch())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let TransducerShape { batch, time, written, units, classes } = self.shape;
        let [kernel, transposed, hidden, dhidden, logits, of_block] =
            parts(scratch, self.scratch());
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        let partial = args[10].wrapping_add(chunk * self.partial_len());
        // SAFETY: the arguments have the sizes of the shape; lengths are cut to them.
        unsafe {
            let fill = |to: *mut f32, n: usize, value: f32| {
                std::slice::from_raw_parts_mut(to, n).fill(value);
            };
            fill(partial, self.partial_len(), 0.0);
            fill(args[8].add(start * time * units), (end - start) * time * units, 0.0);
            fill(args[9].add(start * written * units), (end - start) * written * units, 0.0);
            let room = Room {
                args,
                kernel: self.blocks.pack(args[2], classes, (units, classes), kernel),
                transposed: self.blocks.pack_transposed(
                    args[2],
                    classes,
                    (classes, units),
                    transposed,
                ),
                hidden,
                dhidden,
                logits,
                of_block,
                dkernel: partial,
                dbias: partial.add(units * classes),
            };
            let mut nodes = [Node { frame: 0, written: 0, label: 0, slopes: [0.0; 2] }; ROWS];
            let mut count = 0;
            for b in start..end {
                let own = sample(&self.shape, [args[4], args[5], args[6]], b);
                let columns = own.labels.len() + 1;
                if !own.are_classes && own.time > 0 {
                    fill(args[8].add(b * time * units), own.time * units, f32::NAN);
                    fill(args[9].add(b * written * units), columns * units, f32::NAN);
                    fill(partial, self.partial_len(), f32::NAN);
                    continue;
                }
                for frame in b * time..b * time + own.time {
                    for u in 0..columns {
                        let slopes = args[7].add(2 * (frame * written + u));
                        let next = own.next(u);
                        let slopes = [*slopes, if next.is_some() { *slopes.add(1) } else { 0.0 }];
                        if slopes == [0.0; 2] {
                            continue;
                        }
                        let label = next.unwrap_or(Transducer::BLANK);
                        nodes[count] = Node { frame, written: b * written + u, label, slopes };
                        count += 1;
                        if count == ROWS {
                            self.block(&nodes, &room);
                            count = 0;
                        }
                    }
                }
            }
            if count > 0 {
                self.block(&nodes[..count], &room);
            }
        }
    }
}
