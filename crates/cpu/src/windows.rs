//! Windows over the positions of a sequence, and their gradient: [`tidemill_graph::Windows`].
//!
//! Chunks are ranges of rows of the output: windows, or positions, each of which one chunk sums in the order of the windows' places.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::{Simd, load_n, store_n};
use tidemill_graph::WindowsShape;

type AddFn = unsafe fn(*mut f32, *const f32, usize);

/// `y += x`
#[inline(always)]
unsafe fn add<S: Simd>(y: *mut f32, x: *const f32, n: usize) {
    // SAFETY: both have n values.
    unsafe {
        for i in (0..n).step_by(S::LANES) {
            let sum = S::add(load_n::<S>(y.add(i), n - i), load_n::<S>(x.add(i), n - i));
            store_n::<S>(y.add(i), sum, n - i);
        }
    }
}
kernel!(fn add_on(y: *mut f32, x: *const f32, n: usize) = add;);

/// Windows, or their gradient. Arguments: `x, y`, or `dy, dx`.
pub struct WindowRows {
    shape: WindowsShape,
    chunks: usize,
    is_gradient: bool,
    add: AddFn,
}

impl WindowRows {
    /// The windows, or their gradient.
    pub fn new(isa: Isa, shape: WindowsShape, is_gradient: bool) -> WindowRows {
        let rows = shape.batch * shape.time[usize::from(!is_gradient)];
        let ns = 0.2 * (shape.window.size * shape.width) as f64;
        WindowRows { shape, chunks: chunks_for(rows, ns), is_gradient, add: add_on(isa) }
    }

    /// Rows of the output.
    fn rows(&self) -> usize {
        self.shape.batch * self.shape.time[usize::from(!self.is_gradient)]
    }
}

impl Kernel for WindowRows {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let WindowsShape { window, time, width, .. } = self.shape;
        let (start, end) = chunk_range(self.rows(), self.chunks, 1, chunk);
        let (from, to) = (args[0].cast_const(), args[1]);
        for row in start..end {
            let own = time[usize::from(!self.is_gradient)];
            let (b, i) = (row / own, row % own);
            // SAFETY: rows of input and output are those of the shape, and places outside of it have none.
            unsafe {
                if self.is_gradient {
                    let dx = to.add(row * width);
                    std::slice::from_raw_parts_mut(dx, width).fill(0.0);
                    for j in 0..window.size {
                        let first = (i + window.padding[0]).checked_sub(j * window.dilation);
                        if let Some(window_at) = first.filter(|&at| at < time[1]) {
                            let place = ((b * time[1] + window_at) * window.size + j) * width;
                            (self.add)(dx, from.add(place), width);
                        }
                    }
                    continue;
                }
                for j in 0..window.size {
                    let y = to.add((row * window.size + j) * width);
                    match self.shape.position(i, j) {
                        Some(at) => {
                            let x = from.add((b * time[0] + at) * width);
                            std::ptr::copy_nonoverlapping(x, y, width);
                        }
                        None => std::slice::from_raw_parts_mut(y, width).fill(0.0),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Case;
    use tidemill_graph::{Window, Windows};

    #[test]
    fn against_the_reference() {
        for (time, width, size, dilation, padding) in [
            (1, 1, 1, 1, [0, 0]),
            (7, 5, 3, 1, [2, 0]),
            (7, 5, 3, 2, [2, 2]),
            (9, 33, 4, 1, [0, 0]),
            (3, 17, 5, 2, [8, 0]),
            (5, 8, 2, 3, [0, 3]),
        ] {
            let mut case = Case::new();
            let x = case.floats(&[3, time, width]);
            let window = Window { size, dilation, padding };
            let y = case.apply(Windows::Gather(window), &[x]);
            case.check(&format!("{time} {width} {window:?}"), y, &[x]);
        }
    }
}
