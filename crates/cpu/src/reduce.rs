//! Sums, means and maxima over any axes, and the maximum's gradient.
//!
//! Neighbouring axes of one kind are joined. If the last one is reduced, an output is made of runs
//! of values; if it is kept, a run of outputs is made of rows. Either way outputs are independent;
//! only where there is a single run of outputs are the reduced axes cut into chunks.

use crate::call::{Call, chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::layout::strides;
use tidemill_graph::Reduction;

/// Joined axes of one kind: lengths and strides, outermost first.
type Axes = Vec<(usize, usize)>;

/// Offset of the `round`-th element of a loop nest.
fn offset(axes: &Axes, mut round: usize) -> usize {
    if let [(_, stride)] = axes[..] {
        return round * stride;
    }
    let mut at = 0;
    for &(len, stride) in axes.iter().rev() {
        at += round % len * stride;
        round /= len;
    }
    at
}

/// The shape of a reduction.
#[derive(Clone, Debug)]
struct Form {
    /// Kept axes but the innermost, if that is kept.
    kept: Axes,
    /// Reduced axes but the innermost, if that is reduced.
    reduced: Axes,
    /// Whether the innermost axis is reduced.
    inner_reduced: bool,
    /// Length of the innermost axis.
    inner: usize,
}

impl Form {
    fn new(shape: &[usize], axes: &[usize]) -> Form {
        let strides = strides(shape);
        let mut joined: Vec<(bool, usize, usize)> = Vec::new();
        for i in (0..shape.len()).filter(|&i| shape[i] != 1) {
            let reduced = axes.contains(&i);
            match joined.last_mut() {
                Some((kind, len, stride)) if *kind == reduced => {
                    (*len, *stride) = (*len * shape[i], strides[i]);
                }
                _ => joined.push((reduced, shape[i], strides[i])),
            }
        }
        let (inner_reduced, inner, _) = joined.pop().unwrap_or((true, 1, 1));
        let of = |kind: bool| {
            joined.iter().filter(|j| j.0 == kind).map(|&(_, len, stride)| (len, stride)).collect()
        };
        Form { kept: of(false), reduced: of(true), inner_reduced, inner }
    }

    fn count(axes: &Axes) -> usize {
        axes.iter().map(|a| a.0).product()
    }

    /// Runs of outputs.
    fn outer(&self) -> usize {
        Self::count(&self.kept)
    }

    /// Runs that make one run of outputs.
    fn rounds(&self) -> usize {
        Self::count(&self.reduced)
    }

    /// Outputs of a run.
    fn width(&self) -> usize {
        if self.inner_reduced { 1 } else { self.inner }
    }

    /// Inputs of an output.
    fn depth(&self) -> usize {
        self.rounds() * if self.inner_reduced { self.inner } else { 1 }
    }
}

/// The larger value; a NaN stays.
#[inline(always)]
unsafe fn larger<S: Lanes>(a: S::V, v: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe { S::select(S::eq(a, a), S::select(S::ge(a, v), a, v), a) }
}

/// Folds `n` values of a run into a register.
#[inline(always)]
unsafe fn fold<S: Lanes, const MAX: bool>(x: *const f32, n: usize, start: S::V) -> S::V {
    // SAFETY: indices stay below n.
    unsafe {
        let join = |a: S::V, v: S::V| if MAX { larger::<S>(a, v) } else { S::add(a, v) };
        let l = S::LANES;
        let empty = S::splat(if MAX { f32::NEG_INFINITY } else { 0.0 });
        let mut p = [start, empty, empty, empty];
        let mut i = 0;
        while i + 4 * l <= n {
            for (k, p) in p.iter_mut().enumerate() {
                *p = join(*p, S::load(x.add(i + k * l)));
            }
            i += 4 * l;
        }
        while i + l <= n {
            p[0] = join(p[0], S::load(x.add(i)));
            i += l;
        }
        if i < n {
            let mut v = S::load_partial(x.add(i), n - i);
            if MAX {
                let shift = S::first(S::splat(1.0), n - i);
                v = S::select(S::gt(shift, S::splat(0.5)), v, empty);
            }
            p[1] = join(p[1], v);
        }
        join(join(p[0], p[1]), join(p[2], p[3]))
    }
}

/// One register to one value.
#[inline(always)]
unsafe fn across<S: Lanes, const MAX: bool>(v: S::V) -> f32 {
    let mut lanes = [0.0f32; 16];
    // SAFETY: no set has more than 16 lanes.
    unsafe {
        if !MAX {
            return S::sum(v);
        }
        S::store(lanes.as_mut_ptr(), v);
    }
    lanes[..S::LANES]
        .iter()
        .fold(f32::NEG_INFINITY, |a, &x| if a.is_nan() || a >= x { a } else { x })
}

/// Reduces `rounds` runs of one run of outputs; round `i` is at `offset(reduced, i)`.
type ReduceFn = unsafe fn(
    x: *const f32,
    out: *mut f32,
    form: &Form,
    start: usize,
    end: usize,
    first: usize,
    len: usize,
    factor: f32,
);

/// `start .. end` are rounds; `first, len` the part of the inner run.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn reduce<S: Lanes, const MAX: bool>(
    x: *const f32,
    out: *mut f32,
    form: &Form,
    start: usize,
    end: usize,
    first: usize,
    len: usize,
    factor: f32,
) {
    let l = S::LANES;
    // SAFETY: rounds and the part of the run lie inside the input; out has a run of outputs.
    unsafe {
        let empty = S::splat(if MAX { f32::NEG_INFINITY } else { 0.0 });
        let scale = S::splat(factor);
        let x = x.add(first);
        if form.inner_reduced {
            let mut acc = empty;
            for round in start..end {
                acc = fold::<S, MAX>(x.add(offset(&form.reduced, round)), len, acc);
            }
            *out = across::<S, MAX>(acc) * factor;
            return;
        }
        let out = out.add(first);
        let join = |a: S::V, v: S::V| if MAX { larger::<S>(a, v) } else { S::add(a, v) };
        let mut c = 0;
        while c + 4 * l <= len {
            let mut acc = [empty; 4];
            for round in start..end {
                let row = x.add(offset(&form.reduced, round) + c);
                for (k, a) in acc.iter_mut().enumerate() {
                    *a = join(*a, S::load(row.add(k * l)));
                }
            }
            for (k, a) in acc.iter().enumerate() {
                S::store(out.add(c + k * l), S::mul(*a, scale));
            }
            c += 4 * l;
        }
        while c < len {
            let m = l.min(len - c);
            let (mut even, mut odd) = (empty, empty);
            let mut round = start;
            while round < end {
                let row = |r: usize| {
                    let p = x.add(offset(&form.reduced, r) + c);
                    if m == l { S::load(p) } else { S::load_partial(p, m) }
                };
                even = join(even, row(round));
                if round + 1 < end {
                    odd = join(odd, row(round + 1));
                }
                round += 2;
            }
            let v = S::mul(join(even, odd), scale);
            if m == l {
                S::store(out.add(c), v);
            } else {
                S::store_partial(out.add(c), v, m);
            }
            c += m;
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn reduce_sum<S: Lanes>(
    x: *const f32,
    out: *mut f32,
    form: &Form,
    start: usize,
    end: usize,
    first: usize,
    len: usize,
    factor: f32,
) {
    // SAFETY: as the caller's.
    unsafe { reduce::<S, false>(x, out, form, start, end, first, len, factor) }
}
kernel!(fn reduce_sum_on(
    x: *const f32, out: *mut f32, form: &Form, start: usize, end: usize, first: usize, len: usize,
    factor: f32,
) = reduce_sum;);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn reduce_max<S: Lanes>(
    x: *const f32,
    out: *mut f32,
    form: &Form,
    start: usize,
    end: usize,
    first: usize,
    len: usize,
    factor: f32,
) {
    // SAFETY: as the caller's.
    unsafe { reduce::<S, true>(x, out, form, start, end, first, len, factor) }
}
kernel!(fn reduce_max_on(
    x: *const f32, out: *mut f32, form: &Form, start: usize, end: usize, first: usize, len: usize,
    factor: f32,
) = reduce_max;);

/// Reduces axes. Arguments: `x, y`, and the workspace where the call has one.
pub struct Reduce {
    form: Form,
    factor: f32,
    chunks: usize,
    /// What the chunks cut: runs of outputs, or else what makes the only one.
    cut: Cut,
    f: ReduceFn,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Outputs,
    Rounds,
    Run,
}

/// Reduces the workspace's rows of partial results.
struct Join {
    form: Form,
    factor: f32,
    f: ReduceFn,
}

impl Reduce {
    /// The call for an input of `shape`.
    pub fn call(isa: Isa, reduction: Reduction, shape: &[usize], axes: &[usize]) -> Call {
        let form = Form::new(shape, axes);
        let f = match reduction {
            Reduction::Max => reduce_max_on(isa),
            _ => reduce_sum_on(isa),
        };
        let factor = match reduction {
            Reduction::Mean => 1.0 / form.depth() as f32,
            _ => 1.0,
        };
        let round_ns = 3.0 + 0.06 * form.inner as f64;
        let total_ns = (form.outer() * form.rounds()) as f64 * round_ns;
        let (cut, units) = if form.outer() > 1 {
            (Cut::Outputs, form.outer())
        } else if form.rounds() > 1 {
            (Cut::Rounds, form.rounds())
        } else {
            (Cut::Run, form.inner.div_ceil(16))
        };
        let chunks = chunks_for(units, total_ns / units.max(1) as f64);
        let width = form.width();
        // outputs that are chunks of a lone kept run have nothing to join
        let joined = cut == Cut::Rounds || (cut == Cut::Run && form.inner_reduced);
        let partial = joined && chunks > 1;
        let main = Reduce { form, factor: if partial { 1.0 } else { factor }, chunks, cut, f };
        if !partial {
            return Call::single(main);
        }
        let rows = Form {
            kept: vec![],
            reduced: vec![(chunks, width)],
            inner_reduced: false,
            inner: width,
        };
        let join = Join { form: rows, factor, f };
        Call { phases: vec![Box::new(main), Box::new(join)], workspace_len: chunks * width }
    }
}

impl Kernel for Reduce {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let form = &self.form;
        let (width, rounds) = (form.width(), form.rounds());
        let x = args[0].cast_const();
        // SAFETY: all parts lie inside the input; each output or row of the workspace is written
        // by one chunk.
        unsafe {
            match self.cut {
                Cut::Outputs => {
                    let (start, end) = chunk_range(form.outer(), self.chunks, 1, chunk);
                    for o in start..end {
                        let x = x.add(offset(&form.kept, o));
                        let y = args[1].add(o * width);
                        (self.f)(x, y, form, 0, rounds, 0, form.inner, self.factor);
                    }
                }
                Cut::Rounds => {
                    let (start, end) = chunk_range(rounds, self.chunks, 1, chunk);
                    let out = if self.chunks == 1 { args[1] } else { args[2].add(chunk * width) };
                    (self.f)(x, out, form, start, end, 0, form.inner, self.factor);
                }
                Cut::Run => {
                    let (start, end) = chunk_range(form.inner, self.chunks, 16, chunk);
                    let out = if self.chunks == 1 || !form.inner_reduced {
                        args[1]
                    } else {
                        args[2].add(chunk)
                    };
                    (self.f)(x, out, form, 0, 1, start, end - start, self.factor);
                }
            }
        }
    }
}

impl Kernel for Join {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: the workspace has the form's rows, y one of them.
        unsafe {
            let (rounds, inner) = (self.form.rounds(), self.form.inner);
            (self.f)(args[2], args[1], &self.form, 0, rounds, 0, inner, self.factor);
        }
    }
}

/// Gradient of a maximum: `dy` shared equally among the elements that are the maximum. Arguments:
/// `x, y, dy, dx`; y and dy have the reduced shape.
pub struct ReduceMaxGrad {
    form: Form,
    chunks: usize,
}

impl ReduceMaxGrad {
    /// For an input of `shape` reduced over `axes`.
    pub fn new(shape: &[usize], axes: &[usize]) -> ReduceMaxGrad {
        let form = Form::new(shape, axes);
        let ns = 1.0 * (form.depth() * form.width()) as f64;
        let chunks = chunks_for(form.outer(), ns);
        ReduceMaxGrad { form, chunks }
    }
}

impl Kernel for ReduceMaxGrad {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        4 * self.form.width()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let form = &self.form;
        let (width, rounds, inner) = (form.width(), form.rounds(), form.inner);
        // for inner index i the output is i where it is kept, else 0
        let step = usize::from(!form.inner_reduced);
        let (start, end) = chunk_range(form.outer(), self.chunks, 1, chunk);
        for o in start..end {
            let at = offset(&form.kept, o);
            // SAFETY: offsets lie inside the input; y, dy and the scratch memory have a run of
            // `width` outputs.
            unsafe {
                let (x, dx) = (args[0].add(at), args[3].add(at));
                let (y, dy) = (args[1].add(o * width), args[2].add(o * width));
                let share = std::slice::from_raw_parts_mut(scratch, width);
                share.fill(0.0);
                for round in 0..rounds {
                    let x = x.add(offset(&form.reduced, round));
                    for i in 0..inner {
                        share[i * step] += f32::from(u8::from(*x.add(i) == *y.add(i * step)));
                    }
                }
                for (i, s) in share.iter_mut().enumerate() {
                    // no element equals a NaN: no gradient
                    *s = if *s > 0.0 { *dy.add(i) / *s } else { 0.0 };
                }
                for round in 0..rounds {
                    let from = offset(&form.reduced, round);
                    for i in 0..inner {
                        let hit = *x.add(from + i) == *y.add(i * step);
                        *dx.add(from + i) = if hit { share[i * step] } else { 0.0 };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
