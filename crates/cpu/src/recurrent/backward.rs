//! The gradients of recurrent layers: the positions in the opposite order.

use super::rows::{GradRow, GradRowFn};
use super::{Common, ROWS, Sample, clear};
use crate::call::{bytes, parts};
use crate::gemm::blocks::Panels;
use crate::isa::Isa;
use crate::kernel::Kernel;
use tidemill_graph::ScanShape;
use tidemill_plan::kernel::{kept, products_apart};

/// Gradients of a recurrent layer. Arguments: `kernel, lengths, y, dy, kept, dx, [dp]`; see
/// [`tidemill_plan::KernelSpec::RecurrentGrad`].
pub struct RecurrentGrad {
    common: Common,
    row: GradRowFn,
}

/// The scratch memory and the tensors of a chunk.
struct Room {
    y: *const f32,
    dy: *const f32,
    kept: *const f32,
    dx: *mut f32,
    /// Null where it is dx.
    dp: *mut f32,
    /// The transposed kernel.
    kernel: Panels,
    /// The state before a sample's first position.
    zeros: *const f32,
    /// `[ROWS, units]`: what comes from later positions.
    dh: *mut f32,
    /// The same of the cells, of an LSTM.
    dc: *mut f32,
    /// `[ROWS, gates units]`
    products: *mut f32,
}

impl RecurrentGrad {
    /// Gradients of a layer of this shape.
    pub fn new(isa: Isa, shape: ScanShape) -> RecurrentGrad {
        RecurrentGrad { common: Common::new(isa, shape), row: super::rows::backward(isa, shape) }
    }

    /// Floats of the order, the packed kernel, zeros, and the gradients of states, cells and products.
    fn scratch(&self) -> [usize; 6] {
        let (shape, common) = (&self.common.shape, &self.common);
        let rows = ROWS.min(shape.batch);
        [
            common.order_len(),
            common.blocks.panels_len(shape.width(), shape.units),
            shape.units,
            rows * shape.units,
            rows * shape.units,
            rows * shape.width(),
        ]
    }

    /// Samples that go back through their positions together.
    ///
    /// # Safety
    /// The room is that of `run`; there are at most [`ROWS`] samples.
    unsafe fn group(&self, samples: &[Sample], room: &Room) {
        let shape = &self.common.shape;
        let (units, width) = (shape.units, shape.width());
        let per_row = kept(shape.scan.cell) * units;
        let of_products = |row: usize| match room.dp.is_null() {
            true => room.dp,
            false => room.dp.wrapping_add(row * width),
        };
        // SAFETY: the room has these rows; each sample has the positions up to its length.
        unsafe {
            clear(room.dh, samples.len() * units);
            clear(room.dc, samples.len() * units);
            let mut met = 0;
            for step in (0..samples.first().map_or(0, |longest| longest.length())).rev() {
                while met < samples.len() && samples[met].length() > step {
                    met += 1;
                }
                for (i, &sample) in samples[..met].iter().enumerate() {
                    let row = self.common.row(sample, step);
                    let before = (step > 0).then(|| self.common.row(sample, step - 1));
                    (self.row)(&GradRow {
                        units,
                        kept: room.kept.add(row * per_row),
                        before: before.map_or(room.zeros, |row| room.y.add(row * units)),
                        // The cell is the last of what is kept.
                        cell_before: before
                            .map_or(room.zeros, |row| room.kept.add((row + 1) * per_row - units)),
                        dy: room.dy.add(row * units),
                        dh: room.dh.add(i * units),
                        dc: room.dc.add(i * units),
                        dx: room.dx.add(row * width),
                        dp: of_products(row),
                        product: room.products.add(i * width),
                    });
                }
                if step > 0 {
                    let sizes = [units, width];
                    self.common.blocks.product(
                        met,
                        sizes,
                        room.products,
                        room.kernel,
                        room.dh,
                        true,
                    );
                }
            }
            for &sample in samples {
                let rows = self.common.beyond(sample);
                for to in [room.dx.add(rows.start * width), of_products(rows.start)] {
                    if !to.is_null() {
                        clear(to, rows.len() * width);
                    }
                }
            }
        }
    }
}

impl Kernel for RecurrentGrad {
    fn chunks(&self) -> usize {
        self.common.chunks
    }

    fn scratch_bytes(&self) -> usize {
        bytes(&self.scratch())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let shape = &self.common.shape;
        let (units, width) = (shape.units, shape.width());
        let [order, packed, zeros, dh, dc, products] = parts(scratch, self.scratch());
        let apart = products_apart(shape.scan.cell);
        // SAFETY: the caller's arguments have the sizes of the shape, the scratch those of `scratch`.
        unsafe {
            let samples = self.common.order(chunk, args[1], order);
            let kernel = self.common.blocks.pack_transposed(args[0], width, (width, units), packed);
            clear(zeros, units);
            let room = Room {
                y: args[2],
                dy: args[3],
                kept: args[4],
                dx: args[5],
                dp: if apart { args[6] } else { std::ptr::null_mut() },
                kernel,
                zeros,
                dh,
                dc,
                products,
            };
            for samples in samples.chunks(ROWS) {
                self.group(samples, &room);
            }
        }
    }
}
