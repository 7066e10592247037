//! The states of recurrent layers.

use super::rows::{Row, RowFn};
use super::{Common, PACK_FROM, ROWS, Sample, clear};
use crate::call::{bytes, parts};
use crate::gemm::blocks::Panels;
use crate::isa::Isa;
use crate::kernel::Kernel;
use tidemill_graph::ScanShape;
use tidemill_plan::kernel::kept;

/// A recurrent layer. Arguments: `x, kernel, lengths, [bias], y, [kept]`; see [`tidemill_plan::KernelSpec::Recurrent`].
pub struct Recurrent {
    common: Common,
    row: RowFn,
    keeps: bool,
}

/// The scratch memory and the tensors of a chunk.
struct Room {
    x: *const f32,
    y: *mut f32,
    /// Null where nothing is kept.
    kept: *mut f32,
    kernel: Panels,
    bias: *const f32,
    /// `[ROWS, units]`
    h: *mut f32,
    /// `[ROWS, units]`, of an LSTM.
    c: *mut f32,
    /// `[ROWS, gates units]`
    product: *mut f32,
}

impl Recurrent {
    /// The states alone, or with what the gradients need.
    pub fn new(isa: Isa, shape: ScanShape, keeps: bool) -> Recurrent {
        Recurrent { common: Common::new(isa, shape), row: super::rows::forward(isa, shape), keeps }
    }

    /// Floats of the order, the packed kernel, states, cells, products and a bias of zeros.
    fn scratch(&self) -> [usize; 6] {
        let (shape, common) = (&self.common.shape, &self.common);
        let rows = ROWS.min(shape.batch);
        [
            common.order_len(),
            common.blocks.panels_len(shape.units, shape.width()),
            rows * shape.units,
            rows * shape.units,
            rows * shape.width(),
            shape.width(),
        ]
    }

    /// Samples that go through their positions together.
    ///
    /// # Safety
    /// The room is that of `run`; there are at most [`ROWS`] samples.
    unsafe fn group(&self, samples: &[Sample], room: &Room) {
        let shape = &self.common.shape;
        let (units, width) = (shape.units, shape.width());
        let per_row = kept(shape.scan.cell) * units;
        // SAFETY: the room has these rows; each sample has the positions up to its length.
        unsafe {
            clear(room.h, samples.len() * units);
            clear(room.c, samples.len() * units);
            clear(room.product, samples.len() * width);
            let mut left = samples.len();
            for step in 0..samples.first().map_or(0, |longest| longest.length()) {
                while samples[left - 1].length() <= step {
                    left -= 1;
                }
                if step > 0 {
                    let sizes = [width, units];
                    self.common.blocks.product(
                        left,
                        sizes,
                        room.h,
                        room.kernel,
                        room.product,
                        false,
                    );
                }
                for (i, &sample) in samples[..left].iter().enumerate() {
                    let row = self.common.row(sample, step);
                    (self.row)(&Row {
                        units,
                        x: room.x.add(row * width),
                        product: room.product.add(i * width),
                        bias: room.bias,
                        h: room.h.add(i * units),
                        c: room.c.add(i * units),
                        y: room.y.add(row * units),
                        kept: match self.keeps {
                            true => room.kept.add(row * per_row),
                            false => std::ptr::null_mut(),
                        },
                    });
                }
            }
            for &sample in samples {
                let rows = self.common.beyond(sample);
                clear(room.y.add(rows.start * units), rows.len() * units);
            }
        }
    }
}

impl Kernel for Recurrent {
    fn chunks(&self) -> usize {
        self.common.chunks
    }

    fn scratch_bytes(&self) -> usize {
        bytes(&self.scratch())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let shape = &self.common.shape;
        let width = shape.width();
        let [order, packed, h, c, product, zeros] = parts(scratch, self.scratch());
        let has_bias = shape.scan.cell.has_bias();
        let y = 3 + usize::from(has_bias);
        // SAFETY: the caller's arguments have the sizes of the shape, the scratch those of `scratch`.
        unsafe {
            let samples = self.common.order(chunk, args[2], order);
            let longest = samples.first().map_or(0, |longest| longest.length());
            let kernel = if longest < PACK_FROM {
                let panel = self.common.blocks.panel();
                Panels { at: args[1], step: width, panel }
            } else {
                self.common.blocks.pack(args[1], width, (shape.units, width), packed)
            };
            if !has_bias {
                clear(zeros, width);
            }
            let room = Room {
                x: args[0],
                y: args[y],
                kept: if self.keeps { args[y + 1] } else { std::ptr::null_mut() },
                kernel,
                bias: if has_bias { args[3] } else { zeros },
                h,
                c,
                product,
            };
            for samples in samples.chunks(ROWS) {
                self.group(samples, &room);
            }
        }
    }
}
