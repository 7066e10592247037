//! Packing of operands into panels, where reading them in place is slower.

use crate::simd::{Simd, prefetch};

/// Bytes that come together.
const LINE: usize = 64;
/// Strips of rows that are asked for ahead.
const AHEAD: usize = 2;

/// A block of a stored matrix: rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub src: *const f32,
    pub stride: usize,
    pub rows: usize,
    pub cols: usize,
    /// Which rows, from `src` on, if they are not one after the other; only to be copied.
    pub list: *const u32,
    /// Whether the rows after it are read next, from a cache that is far: they are asked for ahead. Eight short rows at a
    /// time are no pattern that a machine would see.
    pub ahead: bool,
}

pub(super) type PackFn = unsafe fn(&Block, *mut f32, usize);

crate::kernel!(
    /// Copies a block so that its rows are `width` apart (`width >= cols`). Every row is written in
    /// whole vectors in ascending order, so that the output needs a vector's room past its end; what is between the columns and
    /// the width is not meant to be read.
    pub(super) fn copy_on(block: &Block, out: *mut f32, width: usize) = copy;
);

#[inline(always)]
unsafe fn copy<S: Simd>(b: &Block, out: *mut f32, width: usize) {
    // SAFETY: reads stay inside the rows; row i writes less than a vector past i * width + cols,
    // into room that later rows overwrite or that is left past the end.
    unsafe {
        let full = b.cols - b.cols % S::LANES;
        let tail = b.cols - full;
        for i in 0..b.rows {
            let row = if b.list.is_null() { i } else { *b.list.add(i) as usize };
            let (src, out) = (b.src.add(row * b.stride), out.add(i * width));
            for j in (0..full).step_by(S::LANES) {
                S::store(out.add(j), S::load(src.add(j)));
            }
            if tail > 0 {
                // a whole vector where it ends inside the next row: masked loads are slower
                let v = if i + 1 < b.rows && b.stride + tail >= S::LANES {
                    S::load(src.add(full))
                } else {
                    S::load_partial(src.add(full), tail)
                };
                S::store(out.add(full), v);
            }
        }
    }
}

crate::kernel!(
    /// Transposes a block into rows that are `width` apart (`width >= rows` of the block, and a
    /// multiple of the lanes where the block has more rows than lanes), written in whole vectors:
    /// the output needs a vector's room past its end.
    pub(super) fn transpose_on(block: &Block, out: *mut f32, width: usize) = transpose;
);

#[inline(always)]
unsafe fn transpose<S: Simd>(b: &Block, out: *mut f32, width: usize) {
    // SAFETY: reads stay inside the block. Where `width` is no multiple of LANES there is only one
    // strip, whose rows are written in ascending order: a vector that reaches past its row ends
    // in room that the next row overwrites, or in the room past the end.
    unsafe {
        debug_assert!(b.rows <= S::LANES || width.is_multiple_of(S::LANES));
        for i in (0..b.rows).step_by(S::LANES) {
            let rows = S::LANES.min(b.rows - i);
            for j in (0..b.cols).step_by(S::LANES) {
                let cols = S::LANES.min(b.cols - j);
                let src = b.src.add(i * b.stride + j);
                if b.ahead && (j * 4).is_multiple_of(LINE) {
                    for row in 0..S::LANES {
                        prefetch(src.wrapping_add((AHEAD * S::LANES + row) * b.stride));
                    }
                }
                S::transpose(src, b.stride, rows, cols, out.add(j * width + i), width);
            }
        }
    }
}
