//! Copies into scratch: weight panels and zero-padded image bands.

use crate::simd::{Simd, load_n, prefetch, store_n};

/// Copies rows of values into rows of another length: from, their step, how many, their length,
/// to, the step there.
pub(super) type PackFn = unsafe fn(*const f32, usize, usize, usize, *mut f32, usize);

/// Copies `rows` rows of `n` values, `ld` apart, into rows of `width` (a multiple of LANES), zeros
/// after `n`.
///
/// # Safety
/// `src` has the rows, `dst` has `rows * width` values, `n <= width`, no overlap.
#[inline(always)]
unsafe fn pack_rows<S: Simd>(
    src: *const f32,
    ld: usize,
    rows: usize,
    n: usize,
    dst: *mut f32,
    width: usize,
) {
    for row in 0..rows {
        for i in (0..width).step_by(S::LANES) {
            let count = n.saturating_sub(i);
            // SAFETY: i + LANES <= width; of the source row, values i..n are read.
            unsafe {
                let from = src.wrapping_add(row * ld + i);
                let v = match count {
                    0 => S::splat(0.0),
                    _ => load_n::<S>(from, count),
                };
                S::store(dst.add(row * width + i), v);
            }
        }
    }
}
kernel!(pub(super) fn pack_rows_on(src: *const f32, ld: usize, rows: usize, n: usize, dst: *mut f32, width: usize) = pack_rows;);

/// Copies `rows` rows of `n` values, `ld` apart, to rows `width` apart; what lies between stays.
///
/// # Safety
/// As [`pack_rows`], with only the `n` values of each row writable.
#[inline(always)]
unsafe fn copy_rows<S: Simd>(
    src: *const f32,
    ld: usize,
    rows: usize,
    n: usize,
    dst: *mut f32,
    width: usize,
) {
    for row in 0..rows {
        for i in (0..n).step_by(S::LANES) {
            // SAFETY: values i.. of the row, at most n - i.
            unsafe {
                let v = load_n::<S>(src.add(row * ld + i), n - i);
                store_n::<S>(dst.add(row * width + i), v, n - i);
            }
        }
    }
}
kernel!(pub(super) fn copy_rows_on(src: *const f32, ld: usize, rows: usize, n: usize, dst: *mut f32, width: usize) = copy_rows;);

/// Copies the transpose of `n` rows of `rows` values, `ld` apart, into rows of `width` (a multiple
/// of LANES), zeros after `n`.
///
/// # Safety
/// As [`pack_rows`].
#[inline(always)]
unsafe fn pack_transposed<S: Simd>(
    src: *const f32,
    ld: usize,
    rows: usize,
    n: usize,
    dst: *mut f32,
    width: usize,
) {
    for i in (0..width).step_by(S::LANES) {
        let count = n.saturating_sub(i).min(S::LANES);
        for j in (0..rows).step_by(S::LANES) {
            // SAFETY: `count` source rows from i, `columns` of their values from j; i + LANES is
            // at most width. No source row is read where count is zero.
            unsafe {
                let columns = (rows - j).min(S::LANES);
                let from = src.wrapping_add(i * ld + j);
                S::transpose(from, ld, count, columns, dst.add(j * width + i), width);
            }
        }
    }
}
kernel!(pub(super) fn pack_transposed_on(src: *const f32, ld: usize, rows: usize, n: usize, dst: *mut f32, width: usize) = pack_transposed;);

/// Asks for `rows` rows of `n` values, `ld` apart, in their order, for code that will read pieces of them in another one.
pub(super) fn ask_for(src: *const f32, ld: usize, rows: usize, n: usize) {
    const LINE: usize = 16;
    for row in 0..rows {
        for i in (0..n).step_by(LINE) {
            prefetch(src.wrapping_add(row * ld + i));
        }
    }
}

/// The part of an image that a band of output rows sees, in coordinates that may lie outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub top: isize,
    pub left: isize,
    pub rows: usize,
    pub columns: usize,
}

/// Copies a window of an image `[h, w, c]` to `dst[rows, columns, c]`, zeros outside the image.
///
/// # Safety
/// `image` has `h * w * c` values, `dst` has `rows * columns * c`, no overlap.
pub(super) unsafe fn copy_window(
    image: *const f32,
    [h, w, c]: [usize; 3],
    window: Window,
    dst: *mut f32,
) {
    let pitch = window.columns * c;
    // columns of the window inside the image: first..end
    let first = (-window.left).clamp(0, window.columns as isize) as usize;
    let end = (w as isize - window.left).clamp(first as isize, window.columns as isize) as usize;
    for row in 0..window.rows {
        let y = window.top + row as isize;
        // SAFETY: `row` and the columns are inside dst; those of the copy also inside the image:
        // 0 <= y < h and 0 <= left + first, left + end <= w wherever first < end.
        unsafe {
            let to = dst.add(row * pitch);
            if y < 0 || y >= h as isize || first == end {
                std::ptr::write_bytes(to, 0, pitch);
                continue;
            }
            let x = (window.left + first as isize) as usize;
            let from = image.add((y as usize * w + x) * c);
            std::ptr::write_bytes(to, 0, first * c);
            std::ptr::copy_nonoverlapping(from, to.add(first * c), (end - first) * c);
            std::ptr::write_bytes(to.add(end * c), 0, pitch - end * c);
        }
    }
}
