//! Copies that move elements: transposes, slices, concatenation, padding, broadcasts.
//!
//! All are one thing: a loop nest with a stride into the source and one into the destination per
//! loop. Loops that can be are joined, then the nest ends in one of three inner loops: copy a run,
//! repeat a value over a run, or transpose a matrix by register blocks.

use crate::call::{Call, chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::Simd;

/// One loop: its length, and how far source and destination move.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Loop {
    len: usize,
    from: usize,
    to: usize,
}

/// The innermost work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Inner {
    /// `len` values in a row to `len` values in a row.
    Run { len: usize },
    /// One value, `len` times.
    Repeat { len: usize },
    /// Values `from` apart to a run.
    Pick { len: usize, from: usize },
    /// `to[i * to_stride + j] = from[j * from_stride + i]` for `i < rows`, `j < cols`.
    Matrix { rows: usize, cols: usize, from_stride: usize, to_stride: usize },
}

type MatrixFn = unsafe fn(
    from: *const f32,
    to: *mut f32,
    rows: usize,
    cols: usize,
    from_stride: usize,
    to_stride: usize,
);

/// Copies along a loop nest. Arguments: the source at `source`, the destination at `target`.
struct StridedCopy {
    source: usize,
    target: usize,
    from_offset: usize,
    to_offset: usize,
    /// Outermost first.
    outer: Vec<Loop>,
    inner: Inner,
    chunks: usize,
    /// What is cut into chunks: iterations of the outer loops, or the inner length.
    units: usize,
    split_inner: bool,
    transpose: MatrixFn,
}

/// Values that are copied without a call.
const FEW: usize = 4;

/// Row-major strides.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// Drops loops of one round and joins neighbours that move as one.
fn join(loops: impl IntoIterator<Item = Loop>) -> Vec<Loop> {
    let mut out: Vec<Loop> = Vec::new();
    for l in loops {
        if l.len == 1 {
            continue;
        }
        match out.last_mut() {
            Some(o) if o.from == l.from * l.len && o.to == l.to * l.len => {
                *o = Loop { len: o.len * l.len, ..l };
            }
            _ => out.push(l),
        }
    }
    out
}

impl StridedCopy {
    fn new(isa: Isa, loops: impl IntoIterator<Item = Loop>, offsets: [usize; 2]) -> StridedCopy {
        let mut outer = join(loops);
        let total: usize = outer.iter().map(|l| l.len).product();
        // the destination's contiguous loop; a slice of a row may have none, then single values
        let last = outer.iter().position(|l| l.to == 1);
        let inner = match last {
            None => Inner::Run { len: 1 },
            Some(at) => {
                let run = outer.remove(at);
                let source = outer.iter().position(|l| l.from == 1);
                match (run.from, source) {
                    (1, _) => Inner::Run { len: run.len },
                    (0, _) => Inner::Repeat { len: run.len },
                    (from, None) => Inner::Pick { len: run.len, from },
                    (from_stride, Some(at)) => {
                        let column = outer.remove(at);
                        Inner::Matrix {
                            rows: column.len,
                            cols: run.len,
                            from_stride,
                            to_stride: column.to,
                        }
                    }
                }
            }
        };
        let iterations: usize = outer.iter().map(|l| l.len).product();
        let length = match inner {
            Inner::Run { len } | Inner::Repeat { len } | Inner::Pick { len, .. } => len,
            Inner::Matrix { cols, .. } => cols,
        };
        let ns =
            if matches!(inner, Inner::Matrix { .. } | Inner::Pick { .. }) { 0.25 } else { 0.1 };
        let total_ns = total as f64 * ns + iterations as f64 * 4.0;
        // few rounds around a long run: cut the run, in whole registers of any set
        let split_inner = iterations < 8 && length >= 256;
        let units = if split_inner { length.div_ceil(16) } else { iterations };
        let chunks = if total == 0 { 1 } else { chunks_for(units, total_ns / units as f64) };
        let [from_offset, to_offset] = offsets;
        StridedCopy {
            source: 0,
            target: 1,
            from_offset,
            to_offset,
            outer,
            inner,
            chunks,
            units: if total == 0 { 0 } else { units },
            split_inner,
            transpose: transpose_on(isa),
        }
    }

    fn between(mut self, source: usize, target: usize) -> StridedCopy {
        (self.source, self.target) = (source, target);
        self
    }

    /// Source and destination offsets of one round of the outer loops.
    fn offsets(&self, mut round: usize) -> (usize, usize) {
        let (mut from, mut to) = (self.from_offset, self.to_offset);
        for l in self.outer.iter().rev() {
            let i = round % l.len;
            round /= l.len;
            from += i * l.from;
            to += i * l.to;
        }
        (from, to)
    }
}

impl Kernel for StridedCopy {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        if self.units == 0 {
            return;
        }
        if let (Inner::Run { len }, 1, true) = (self.inner, self.chunks, self.outer.is_empty()) {
            // SAFETY: as below.
            unsafe {
                let from = args[self.source].add(self.from_offset).cast_const();
                let to = args[self.target].add(self.to_offset);
                if len <= FEW {
                    (0..len).for_each(|i| *to.add(i) = *from.add(i));
                } else {
                    std::ptr::copy_nonoverlapping(from, to, len);
                }
            }
            return;
        }
        let (start, end) = chunk_range(self.units, self.chunks, 1, chunk);
        let iterations: usize = self.outer.iter().map(|l| l.len).product();
        let (rounds, part) = if self.split_inner {
            (0..iterations, Some((start * 16, end * 16)))
        } else {
            (start..end, None)
        };
        for round in rounds {
            let (from, to) = self.offsets(round);
            let range = |len: usize| part.map_or((0, len), |(s, e)| (s.min(len), e.min(len)));
            // SAFETY: offsets and strides stay inside the shapes given at construction, and the
            // buffers have those shapes; source and destination are not the same buffer.
            unsafe {
                let (from, to) =
                    (args[self.source].add(from).cast_const(), args[self.target].add(to));
                match self.inner {
                    Inner::Run { len } => {
                        let (s, e) = range(len);
                        std::ptr::copy_nonoverlapping(from.add(s), to.add(s), e - s);
                    }
                    Inner::Repeat { len } => {
                        let (s, e) = range(len);
                        std::slice::from_raw_parts_mut(to.add(s), e - s).fill(*from);
                    }
                    Inner::Pick { len, from: stride } => {
                        let (s, e) = range(len);
                        for i in s..e {
                            *to.add(i) = *from.add(i * stride);
                        }
                    }
                    Inner::Matrix { rows, cols, from_stride, to_stride } => {
                        let (s, e) = range(cols);
                        let (from, to) = (from.add(s * from_stride), to.add(s));
                        (self.transpose)(from, to, rows, e - s, from_stride, to_stride);
                    }
                }
            }
        }
    }
}

/// See [`Inner::Matrix`].
#[inline(always)]
unsafe fn transpose_matrix<S: Simd>(
    from: *const f32,
    to: *mut f32,
    rows: usize,
    cols: usize,
    from_stride: usize,
    to_stride: usize,
) {
    let l = S::LANES;
    let mut edge = [0.0f32; 256];
    let mut j = 0;
    while j < cols {
        let width = l.min(cols - j);
        let mut i = 0;
        while i < rows {
            let height = l.min(rows - i);
            // SAFETY: the block i .. i + height, j .. j + width lies inside both matrices; edge
            // has room for LANES registers. S::transpose writes whole registers, so blocks that
            // are not full go through `edge`.
            unsafe {
                let from = from.add(j * from_stride + i);
                let to = to.add(i * to_stride + j);
                if width == l {
                    S::transpose(from, from_stride, width, height, to, to_stride);
                } else {
                    S::transpose(from, from_stride, width, height, edge.as_mut_ptr(), l);
                    for r in 0..height {
                        let row = edge.as_ptr().add(r * l);
                        std::ptr::copy_nonoverlapping(row, to.add(r * to_stride), width);
                    }
                }
            }
            i += height;
        }
        j += width;
    }
}
kernel!(fn transpose_on(
    from: *const f32,
    to: *mut f32,
    rows: usize,
    cols: usize,
    from_stride: usize,
    to_stride: usize,
) = transpose_matrix;);

/// Fills an argument with a value.
struct Fill {
    target: usize,
    len: usize,
    value: f32,
    chunks: usize,
}

impl Fill {
    fn new(target: usize, len: usize, value: f32) -> Fill {
        Fill { target, len, value, chunks: chunks_for(len.div_ceil(16), 0.8) }
    }
}

impl Kernel for Fill {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.len, self.chunks, 16, chunk);
        // SAFETY: the argument has `len` values.
        unsafe {
            std::slice::from_raw_parts_mut(args[self.target].add(start), end - start)
                .fill(self.value);
        }
    }
}

/// `y = value`. Arguments: `y[len]`.
pub fn fill(len: usize, value: f32) -> Call {
    Call::single(Fill::new(0, len, value))
}

/// Same elements in the same order. Arguments: `x[len], y[len]`.
pub fn copy(isa: Isa, len: usize) -> Call {
    Call::single(StridedCopy::new(isa, [Loop { len, from: 1, to: 1 }], [0, 0]))
}

/// Output dim `i` is input dim `perm[i]`. Arguments: `x, y`.
pub fn transpose(isa: Isa, shape: &[usize], perm: &[usize]) -> Call {
    let from = strides(shape);
    let out: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
    let to = strides(&out);
    let loops = (0..perm.len()).map(|i| Loop { len: out[i], from: from[perm[i]], to: to[i] });
    Call::single(StridedCopy::new(isa, loops, [0, 0]))
}

/// `start[i] .. start[i] + size[i]` of each dim. Arguments: `x, y`.
pub fn slice(isa: Isa, shape: &[usize], start: &[usize], size: &[usize]) -> Call {
    let (from, to) = (strides(shape), strides(size));
    let loops = (0..shape.len()).map(|i| Loop { len: size[i], from: from[i], to: to[i] });
    let offset = start.iter().zip(&from).map(|(s, f)| s * f).sum();
    Call::single(StridedCopy::new(isa, loops, [offset, 0]))
}

/// Puts `value` around. Arguments: `x, y`.
pub fn pad(isa: Isa, shape: &[usize], before: &[usize], after: &[usize], value: f32) -> Call {
    let out: Vec<usize> = (0..shape.len()).map(|i| before[i] + shape[i] + after[i]).collect();
    let (from, to) = (strides(shape), strides(&out));
    let loops = (0..shape.len()).map(|i| Loop { len: shape[i], from: from[i], to: to[i] });
    let offset = before.iter().zip(&to).map(|(b, t)| b * t).sum();
    let inside = StridedCopy::new(isa, loops, [0, offset]);
    let around = Fill::new(1, out.iter().product(), value);
    Call { phases: vec![Box::new(around), Box::new(inside)], workspace_len: 0 }
}

/// As NumPy broadcasts. Arguments: `x, y`.
pub fn broadcast_to(isa: Isa, from_shape: &[usize], to_shape: &[usize]) -> Call {
    let (from, to) = (strides(from_shape), strides(to_shape));
    let missing = to_shape.len() - from_shape.len();
    let loops = (0..to_shape.len()).map(|i| {
        let repeated = i < missing || from_shape[i - missing] == 1;
        Loop { len: to_shape[i], from: if repeated { 0 } else { from[i - missing] }, to: to[i] }
    });
    Call::single(StridedCopy::new(isa, loops, [0, 0]))
}

/// Inputs one after another along an axis. Arguments: the inputs, y.
pub fn concat(isa: Isa, shapes: &[Vec<usize>], axis: usize) -> Call {
    let mut out = shapes[0].clone();
    out[axis] = shapes.iter().map(|s| s[axis]).sum();
    let to = strides(&out);
    let mut at = 0;
    let mut phases: Vec<Box<dyn Kernel>> = Vec::new();
    for (n, shape) in shapes.iter().enumerate() {
        let from = strides(shape);
        let loops = (0..shape.len()).map(|i| Loop { len: shape[i], from: from[i], to: to[i] });
        let copy = StridedCopy::new(isa, loops, [0, at * to[axis]]);
        phases.push(Box::new(copy.between(n, shapes.len())));
        at += shape[axis];
    }
    Call { phases, workspace_len: 0 }
}

#[cfg(test)]
mod tests;
