//! The reductions at the end of a fused program.

use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::Simd;

/// Lanes of a total's accumulator: enough for two registers of any set.
pub(super) const TOTAL_LANES: usize = 32;

/// `acc[i] += v[i]` for `i < n`.
pub(crate) type AddFn = unsafe fn(v: *const f32, acc: *mut f32, n: usize);

#[inline(always)]
unsafe fn add_each<S: Simd>(v: *const f32, acc: *mut f32, n: usize) {
    // SAFETY: indices stay below n.
    unsafe {
        let mut i = 0;
        while i + 2 * S::LANES <= n {
            let j = i + S::LANES;
            let x = S::add(S::load(acc.add(i)), S::load(v.add(i)));
            let y = S::add(S::load(acc.add(j)), S::load(v.add(j)));
            S::store(acc.add(i), x);
            S::store(acc.add(j), y);
            i += 2 * S::LANES;
        }
        if i + S::LANES <= n {
            S::store(acc.add(i), S::add(S::load(acc.add(i)), S::load(v.add(i))));
            i += S::LANES;
        }
        if i < n {
            let m = n - i;
            let x = S::add(S::load_partial(acc.add(i), m), S::load_partial(v.add(i), m));
            S::store_partial(acc.add(i), x, m);
        }
    }
}
kernel!(pub(crate) fn add_to(v: *const f32, acc: *mut f32, n: usize) = add_each;);

/// `acc[i % 32] += v[i]` for `i < n`, in a fixed order.
#[inline(always)]
unsafe fn total_of<S: Simd>(v: *const f32, acc: *mut f32, n: usize) {
    // SAFETY: indices stay below n; acc has TOTAL_LANES values, 2 registers at least.
    unsafe {
        let l = S::LANES;
        let (mut p, mut q) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * l <= n {
            p = S::add(p, S::load(v.add(i)));
            q = S::add(q, S::load(v.add(i + l)));
            i += 2 * l;
        }
        if i + l <= n {
            p = S::add(p, S::load(v.add(i)));
            i += l;
        }
        if i < n {
            q = S::add(q, S::load_partial(v.add(i), n - i));
        }
        S::store(acc, S::add(S::load(acc), p));
        S::store(acc.add(l), S::add(S::load(acc.add(l)), q));
    }
}
kernel!(pub(super) fn add_total(v: *const f32, acc: *mut f32, n: usize) = total_of;);

/// The sum of one row.
#[inline(always)]
pub(crate) unsafe fn row_sum<S: Simd>(v: *const f32, n: usize) -> f32 {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let (mut p, mut q) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * l <= n {
            p = S::add(p, S::load(v.add(i)));
            q = S::add(q, S::load(v.add(i + l)));
            i += 2 * l;
        }
        if i + l <= n {
            p = S::add(p, S::load(v.add(i)));
            i += l;
        }
        if i < n {
            q = S::add(q, S::load_partial(v.add(i), n - i));
        }
        S::sum(S::add(p, q))
    }
}

/// `out[r] = (first ? 0 : out[r]) + sum(v[r * cols ..][..cols])` for `r < rows`.
#[inline(always)]
unsafe fn rows_of<S: Simd>(v: *const f32, out: *mut f32, rows: usize, cols: usize, first: bool) {
    for r in 0..rows {
        // SAFETY: v has rows x cols values, out has rows.
        unsafe {
            let s = row_sum::<S>(v.add(r * cols), cols);
            *out.add(r) = if first { s } else { *out.add(r) + s };
        }
    }
}
kernel!(pub(super) fn row_sums(
    v: *const f32, out: *mut f32, rows: usize, cols: usize, first: bool
) = rows_of;);

/// One reduction that several chunks contribute to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    /// Number of the output among the call's arguments.
    pub arg: usize,
    /// Where its values start in a chunk's part of the workspace.
    pub at: usize,
    /// How many.
    pub len: usize,
    /// Factor of the sum.
    pub factor: f32,
}

/// Adds the chunks' partial sums in a fixed order. Arguments: those of the [`Eltwise`](super::Eltwise)
/// call that made them.
pub struct CombineSums {
    pub(super) partials: Vec<Partial>,
    pub(super) chunks: usize,
    /// f32 between the parts of two chunks.
    pub(super) stride: usize,
    pub(super) workspace_arg: usize,
    pub(super) add: AddFn,
}

impl CombineSums {
    /// Adds `chunks` rows of `len` values of argument `workspace_arg` into argument `arg`.
    pub(crate) fn of_one(
        isa: Isa,
        arg: usize,
        workspace_arg: usize,
        chunks: usize,
        len: usize,
    ) -> CombineSums {
        let partials = vec![Partial { arg, at: 0, len, factor: 1.0 }];
        CombineSums { partials, chunks, stride: len, workspace_arg, add: add_to(isa) }
    }
}

impl Kernel for CombineSums {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        for p in &self.partials {
            let out = args[p.arg];
            // SAFETY: the workspace has `chunks` parts of `stride` values, each with p.at + p.len
            // of them at least; the output has p.len values.
            unsafe {
                let from = args[self.workspace_arg].add(p.at).cast_const();
                std::ptr::copy_nonoverlapping(from, out, p.len);
                for chunk in 1..self.chunks {
                    (self.add)(from.add(chunk * self.stride), out, p.len);
                }
                for i in 0..p.len {
                    *out.add(i) *= p.factor;
                }
            }
        }
    }
}
