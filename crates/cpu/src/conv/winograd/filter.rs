//! The transforms of the filter and of its gradient, and the panels that the register tiles read.

use super::super::pack::{PackFn, pack_rows_on, pack_transposed_on};
use super::super::{ConvShape, Panel, panels};
use super::{PLACES, Pass};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::Simd;

/// `G g G^T` of all filters, for one pass, laid out for [`WinogradConv`](super::WinogradConv):
/// `[panel][place][depth][width]`.
///
/// Arguments: `[w, transformed]` with [`transformed_len`](Self::transformed_len) values of the latter.
pub struct WinogradFilter {
    pass: Pass,
    in_c: usize,
    out_c: usize,
    lanes: usize,
    panels: Vec<Panel>,
    pack_rows: PackFn,
    pack_transposed: PackFn,
    transform: unsafe fn(*const f32, usize, *mut f32, usize, bool),
}

/// `G` times three values.
#[inline(always)]
unsafe fn three_to_four<S: Simd>([g0, g1, g2]: [S::V; 3]) -> [S::V; 4] {
    // SAFETY: the instruction set is available.
    unsafe {
        let half = S::splat(0.5);
        let ends = S::mul(half, S::add(g0, g2));
        [g0, S::fma(half, g1, ends), S::sub(ends, S::mul(half, g1)), g2]
    }
}

/// `G g G^T`, `len` filters at once: from nine taps `[9][len]` to places `stride` apart. `turned`:
/// of filters turned around.
///
/// # Safety
/// Both have the values; `len` is a multiple of LANES.
#[inline(always)]
unsafe fn transform<S: Simd>(
    taps: *const f32,
    len: usize,
    to: *mut f32,
    stride: usize,
    turned: bool,
) {
    // SAFETY: i + LANES <= len.
    unsafe {
        for i in (0..len).step_by(S::LANES) {
            let mut columns = [[S::splat(0.0); 4]; 3];
            for (x, column) in columns.iter_mut().enumerate() {
                let mut g = [S::splat(0.0); 3];
                for (y, g) in g.iter_mut().enumerate() {
                    let tap = if turned { 8 - (3 * y + x) } else { 3 * y + x };
                    *g = S::load(taps.add(tap * len + i));
                }
                *column = three_to_four::<S>(g);
            }
            let [c0, c1, c2] = columns;
            for (y, ((g0, g1), g2)) in c0.into_iter().zip(c1).zip(c2).enumerate() {
                for (x, u) in three_to_four::<S>([g0, g1, g2]).into_iter().enumerate() {
                    S::store(to.add((4 * y + x) * stride + i), u);
                }
            }
        }
    }
}
kernel!(fn transform_on(taps: *const f32, len: usize, to: *mut f32, stride: usize, turned: bool) = transform;);

impl WinogradFilter {
    /// For the convolution that `d` describes.
    pub fn new(isa: Isa, d: &ConvShape, pass: Pass) -> WinogradFilter {
        let width = match pass {
            Pass::Forward => d.out_c,
            Pass::GradInput => d.in_c,
        };
        WinogradFilter {
            pass,
            in_c: d.in_c,
            out_c: d.out_c,
            lanes: isa.lanes(),
            panels: panels(1, width, isa.lanes()),
            pack_rows: pack_rows_on(isa),
            pack_transposed: pack_transposed_on(isa),
            transform: transform_on(isa),
        }
    }

    /// Values of the transformed filters.
    pub fn transformed_len(&self) -> usize {
        PLACES * self.in_c * self.out_c
    }

    /// Channels that are summed over.
    fn depth(&self) -> usize {
        match self.pass {
            Pass::Forward => self.in_c,
            Pass::GradInput => self.out_c,
        }
    }
}

impl Kernel for WinogradFilter {
    fn chunks(&self) -> usize {
        // about 60 cycles a register of filters
        let registers = self.in_c * self.out_c / self.lanes;
        (registers / 512).clamp(1, self.panels.len())
    }

    fn scratch_bytes(&self) -> usize {
        9 * self.lanes * 2 * self.lanes * size_of::<f32>()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let (depth, lanes) = (self.depth(), self.lanes);
        let panels = super::super::engine::group_range(self.panels.len(), self.chunks(), chunk);
        for panel in &self.panels[panels] {
            let width = panel.registers * lanes;
            // SAFETY: depth and width are multiples of the lanes; rows d.. of the panel's columns
            // (forward), or columns d.. of its rows, are inside each tap; scratch has nine taps of
            // lanes rows.
            unsafe {
                let to = args[1].add(panel.start * PLACES * depth);
                for d in (0..depth).step_by(lanes) {
                    for tap in 0..9 {
                        let taps = args[0].add(tap * self.in_c * self.out_c);
                        let block = scratch.add(tap * lanes * width);
                        let (pack, at) = match self.pass {
                            Pass::Forward => (self.pack_rows, d * self.out_c + panel.start),
                            Pass::GradInput => (self.pack_transposed, panel.start * self.out_c + d),
                        };
                        pack(taps.add(at), self.out_c, lanes, width, block, width);
                    }
                    let turned = self.pass == Pass::GradInput;
                    let to = to.add(d * width);
                    (self.transform)(scratch, lanes * width, to, depth * width, turned);
                }
            }
        }
    }
}

/// Half of `G^T` times four values, with the sign that [`super::transform::gradient_on`] leaves.
#[inline(always)]
unsafe fn four_to_three<S: Simd>([s0, s1, s2, s3]: [S::V; 4]) -> [S::V; 3] {
    // SAFETY: the instruction set is available.
    unsafe {
        let half = S::splat(0.5);
        let sum = S::mul(half, S::add(s1, s2));
        [S::add(s0, sum), S::mul(half, S::sub(s1, s2)), S::sub(sum, s3)]
    }
}

/// `G^T s G` of `rows` rows of `width` filters, from places `stride` apart to taps `tap` apart, with
/// rows `ld` apart.
///
/// # Safety
/// Both have the values; `width` is a multiple of LANES.
#[inline(always)]
unsafe fn gather<S: Simd>(
    from: *const f32,
    stride: usize,
    rows: usize,
    width: usize,
    to: *mut f32,
    (tap, ld): (usize, usize),
) {
    // SAFETY: row < rows, i + LANES <= width.
    unsafe {
        for row in 0..rows {
            for i in (0..width).step_by(S::LANES) {
                let from = from.add(row * width + i);
                let mut columns = [[S::splat(0.0); 3]; 4];
                for (x, column) in columns.iter_mut().enumerate() {
                    let mut s = [S::splat(0.0); 4];
                    for (y, s) in s.iter_mut().enumerate() {
                        *s = S::load(from.add((4 * y + x) * stride));
                    }
                    *column = four_to_three::<S>(s);
                }
                let [c0, c1, c2, c3] = columns;
                for (y, ((s0, s1), (s2, s3))) in
                    c0.into_iter().zip(c1).zip(c2.into_iter().zip(c3)).enumerate()
                {
                    let row_of = [s0, s1, s2, s3];
                    for (x, v) in four_to_three::<S>(row_of).into_iter().enumerate() {
                        S::store(to.add((3 * y + x) * tap + row * ld + i), v);
                    }
                }
            }
        }
    }
}
kernel!(
    /// `G^T s G`, see above.
    pub(super) fn gather_on(from: *const f32, stride: usize, rows: usize, width: usize, to: *mut f32, steps: (usize, usize)) = gather;
);
