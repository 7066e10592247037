//! Programs that training steps are full of, as one loop each: values stay in registers.
//!
//! A program is written as text in a canonical form (see [`describe`]) and looked up in a table. A
//! tile is some whole rows; four tiles are run together, so that values of a column and sums are
//! loaded once for four vectors.

use super::steps::{hard_swish_of, hard_swish_slope};
use crate::isa::Isa;
use crate::simd::Simd;
use tidemill_graph::{Binary, Unary};
use tidemill_plan::eltwise::{Sink, Spread, Step};

/// Most inputs and outputs of a kind that a pattern has.
pub(super) const MANY: usize = 5;

/// Where a fused loop reads and writes; unused entries are not read.
pub(super) struct Pointers {
    /// Matrices.
    pub full: [*const f32; MANY],
    /// A value for each place of a tile.
    pub row: [*const f32; MANY],
    /// Matrices; may be those of `full`.
    pub out: [*mut f32; MANY],
    /// Sums for each place of a tile.
    pub sums: [*mut f32; MANY],
}

/// Runs `tiles` tiles of `n` values, one after another in memory.
pub(super) type FusedFn = unsafe fn(p: &Pointers, n: usize, tiles: usize);

/// A pattern's loop, and which arguments it takes.
pub(super) struct Match {
    pub f: FusedFn,
    /// Program inputs, in the pattern's order.
    pub full: Vec<usize>,
    pub row: Vec<usize>,
    /// Program outputs, in the pattern's order.
    pub out: Vec<usize>,
    pub sums: Vec<usize>,
}

/// `text name [full, row, out, sums] |x, r, acc| body`: x are values of the matrices, r of the
/// columns, acc the sums; the body gives the outputs.
macro_rules! patterns {
    ($($text:literal $name:ident [$full:literal $row:literal $out:literal $sums:literal]
        |$x:ident, $r:ident, $acc:ident| $body:block)*) => {
        // patterns without sums or columns have arrays of none
        $(#[allow(clippy::zero_repeat_side_effects)]
        mod $name {
            use super::*;

            #[inline(always)]
            #[allow(unused_variables)]
            unsafe fn eval<S: Simd>(
                $x: [S::V; $full],
                $r: &[S::V; $row],
                $acc: &mut [S::V; $sums],
            ) -> [S::V; $out] {
                // SAFETY: register operations of an available instruction set.
                unsafe { $body }
            }

            /// `m` values at place `i` of `G` tiles.
            #[inline(always)]
            unsafe fn place<S: Simd, const G: usize>(p: &Pointers, n: usize, at: usize, i: usize, m: usize) {
                // SAFETY: the places lie inside the tiles.
                unsafe {
                    let load = |p: *const f32| {
                        if m == S::LANES { S::load(p) } else { S::load_partial(p, m) }
                    };
                    let store = |p: *mut f32, v: S::V| {
                        if m == S::LANES { S::store(p, v) } else { S::store_partial(p, v, m) }
                    };
                    let mut r = [S::splat(0.0); $row];
                    for (k, r) in r.iter_mut().enumerate() {
                        *r = load(p.row[k].add(i));
                    }
                    let mut acc = [S::splat(0.0); $sums];
                    for (k, a) in acc.iter_mut().enumerate() {
                        *a = load(p.sums[k].add(i));
                    }
                    for tile in 0..G {
                        let e = at + tile * n + i;
                        let mut x = [S::splat(0.0); $full];
                        for (k, x) in x.iter_mut().enumerate() {
                            *x = load(p.full[k].add(e));
                        }
                        let y: [S::V; $out] = eval::<S>(x, &r, &mut acc);
                        for (k, y) in y.iter().enumerate() {
                            store(p.out[k].add(e), *y);
                        }
                    }
                    for (k, a) in acc.iter().enumerate() {
                        store(p.sums[k].add(i), *a);
                    }
                }
            }

            #[inline(always)]
            unsafe fn each<S: Simd>(p: &Pointers, n: usize, tiles: usize) {
                // SAFETY: tiles lie inside the matrices, places inside the tiles.
                unsafe {
                    let (whole, rest) = (n - n % S::LANES, n % S::LANES);
                    let mut tile = 0;
                    while tile + 4 <= tiles {
                        let mut i = 0;
                        while i < whole {
                            place::<S, 4>(p, n, tile * n, i, S::LANES);
                            i += S::LANES;
                        }
                        if rest > 0 {
                            place::<S, 4>(p, n, tile * n, whole, rest);
                        }
                        tile += 4;
                    }
                    while tile < tiles {
                        let mut i = 0;
                        while i < whole {
                            place::<S, 1>(p, n, tile * n, i, S::LANES);
                            i += S::LANES;
                        }
                        if rest > 0 {
                            place::<S, 1>(p, n, tile * n, whole, rest);
                        }
                        tile += 1;
                    }
                }
            }
            kernel!(pub fn pick(p: &Pointers, n: usize, tiles: usize) = each;);
        })*

        fn find(text: &str, isa: Isa) -> Option<FusedFn> {
            match text {
                $($text => Some($name::pick(isa)),)*
                _ => None,
            }
        }

        /// The texts of the table.
        #[cfg(test)]
        pub(super) const TEXTS: &[&str] = &[$($text),*];
    };
}

/// `max(x, 0)`; NaN stays.
#[inline(always)]
unsafe fn relu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe { S::max(S::splat(0.0), x) }
}

/// `y > 0 ? dy : 0`
#[inline(always)]
unsafe fn gate<S: Simd>(y: S::V, dy: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe { S::select(S::gt(y, S::splat(0.0)), dy, S::splat(0.0)) }
}

patterns! {
    // bias, residual
    "full relu(add(F0,R0));" bias_relu [1 1 1 0] |x, r, acc| { [relu::<S>(S::add(x[0], r[0]))] }
    "full relu(add(F0,F1));" add_relu [2 0 1 0] |x, r, acc| { [relu::<S>(S::add(x[0], x[1]))] }
    // batch norm forward
    "full fma(F0,R0,R1);" norm [1 2 1 0] |x, r, acc| { [S::fma(x[0], r[0], r[1])] }
    "full relu(fma(F0,R0,R1));" norm_relu [1 2 1 0] |x, r, acc| {
        [relu::<S>(S::fma(x[0], r[0], r[1]))]
    }
    "full hard_swish(fma(F0,R0,R1));" norm_hard_swish [1 2 1 0] |x, r, acc| {
        [hard_swish_of::<S>(S::fma(x[0], r[0], r[1]))]
    }
    "full add(F0,fma(F1,R0,R1));" norm_add [2 2 1 0] |x, r, acc| {
        [S::add(x[0], S::fma(x[1], r[0], r[1]))]
    }
    "full relu(add(F0,fma(F1,R0,R1)));" norm_add_relu [2 2 1 0] |x, r, acc| {
        [relu::<S>(S::add(x[0], S::fma(x[1], r[0], r[1])))]
    }
    // bias gradients
    "sums F0;" column_sums [1 0 0 1] |x, r, acc| { acc[0] = S::add(acc[0], x[0]); [] }
    "sums relu'(F0,F1);" relu_grad_sums [2 0 0 1] |x, r, acc| {
        acc[0] = S::add(acc[0], gate::<S>(x[0], x[1]));
        []
    }
    "full relu'(F0,F1);sums relu'(F0,F1);" relu_grad_and_sums [2 0 1 1] |x, r, acc| {
        let d = gate::<S>(x[0], x[1]);
        acc[0] = S::add(acc[0], d);
        [d]
    }
    // batch norm backward: sums of dy and dy x
    "sums F0;sums mul(F0,F1);" norm_sums [2 0 0 2] |x, r, acc| {
        acc[0] = S::add(acc[0], x[0]);
        acc[1] = S::fma(x[0], x[1], acc[1]);
        []
    }
    "sums mul(F0,relu'(F1,F2));sums relu'(F1,F2);" relu_norm_sums [3 0 0 2] |x, r, acc| {
        let d = gate::<S>(x[1], x[2]);
        acc[0] = S::fma(x[0], d, acc[0]);
        acc[1] = S::add(acc[1], d);
        []
    }
    "full relu'(F0,F1);sums mul(F2,relu'(F0,F1));sums relu'(F0,F1);"
    relu_norm_sums_stored [3 0 1 2] |x, r, acc| {
        let d = gate::<S>(x[0], x[1]);
        acc[0] = S::fma(x[2], d, acc[0]);
        acc[1] = S::add(acc[1], d);
        [d]
    }
    // the same, of an activation whose input is computed again
    "sums mul(F0,relu'(fma(F0,R0,R1),F1));sums relu'(fma(F0,R0,R1),F1);"
    norm_relu_sums [2 2 0 2] |x, r, acc| {
        let d = gate::<S>(S::fma(x[0], r[0], r[1]), x[1]);
        acc[0] = S::fma(x[0], d, acc[0]);
        acc[1] = S::add(acc[1], d);
        []
    }
    "full fma(R0,relu'(fma(F0,R1,R2),F1),fma(F0,R3,R4));" norm_relu_grad [2 5 1 0] |x, r, acc| {
        let d = gate::<S>(S::fma(x[0], r[1], r[2]), x[1]);
        [S::fma(r[0], d, S::fma(x[0], r[3], r[4]))]
    }
    "sums hard_swish'(fma(F0,R0,R1),F1);sums mul(F0,hard_swish'(fma(F0,R0,R1),F1));"
    norm_hard_swish_sums [2 2 0 2] |x, r, acc| {
        let d = S::mul(hard_swish_slope::<S>(S::fma(x[0], r[0], r[1])), x[1]);
        acc[0] = S::add(acc[0], d);
        acc[1] = S::fma(x[0], d, acc[1]);
        []
    }
    "full fma(R0,hard_swish'(fma(F0,R1,R2),F1),fma(F0,R3,R4));"
    norm_hard_swish_grad [2 5 1 0] |x, r, acc| {
        let d = S::mul(hard_swish_slope::<S>(S::fma(x[0], r[1], r[2])), x[1]);
        [S::fma(r[0], d, S::fma(x[0], r[3], r[4]))]
    }
    // the same after the sum of two gradients, which the last part of the gradient reads, too
    "full add(F0,F1);sums mul(F2,relu'(fma(F2,R0,R1),add(F0,F1)));sums relu'(fma(F2,R0,R1),add(F0,F1));"
    add_norm_relu_sums [3 2 1 2] |x, r, acc| {
        let dy = S::add(x[0], x[1]);
        let d = gate::<S>(S::fma(x[2], r[0], r[1]), dy);
        acc[0] = S::fma(x[2], d, acc[0]);
        acc[1] = S::add(acc[1], d);
        [dy]
    }
    "full add(F0,F1);sums hard_swish'(fma(F2,R0,R1),add(F0,F1));sums mul(F2,hard_swish'(fma(F2,R0,R1),add(F0,F1)));"
    add_norm_hard_swish_sums [3 2 1 2] |x, r, acc| {
        let dy = S::add(x[0], x[1]);
        let d = S::mul(hard_swish_slope::<S>(S::fma(x[2], r[0], r[1])), dy);
        acc[0] = S::add(acc[0], d);
        acc[1] = S::fma(x[2], d, acc[1]);
        [dy]
    }
    // batch norm backward: p dy + (q x + r)
    "full fma(F0,R0,fma(F1,R1,R2));" norm_grad [2 3 1 0] |x, r, acc| {
        [S::fma(x[0], r[0], S::fma(x[1], r[1], r[2]))]
    }
    "full fma(R0,relu'(F0,F1),fma(F2,R1,R2));" relu_norm_grad [3 3 1 0] |x, r, acc| {
        [S::fma(r[0], gate::<S>(x[0], x[1]), S::fma(x[2], r[1], r[2]))]
    }
}

/// A step as text, with inputs as bare letters; `None` for what no pattern has.
fn shape_of(steps: &[Step], inputs: &[Spread], v: usize) -> Option<String> {
    Some(match steps[v] {
        Step::Input(n) => match inputs[n] {
            Spread::Full => "F".to_owned(),
            Spread::Row => "R".to_owned(),
            _ => return None,
        },
        _ => {
            let (name, operands) = operation(steps, inputs, v)?;
            let parts: Option<Vec<String>> =
                operands.iter().map(|&o| shape_of(steps, inputs, o)).collect();
            format!("{name}({})", parts?.join(","))
        }
    })
}

/// A step's name and operands; operands that may be exchanged are in the order of their shapes.
fn operation(steps: &[Step], inputs: &[Spread], v: usize) -> Option<(&'static str, Vec<usize>)> {
    let sorted = |a: usize, b: usize| -> Option<[usize; 2]> {
        let (s, t) = (shape_of(steps, inputs, a)?, shape_of(steps, inputs, b)?);
        Some(if s <= t { [a, b] } else { [b, a] })
    };
    Some(match steps[v] {
        Step::Unary(Unary::Relu, a) => ("relu", vec![a]),
        Step::UnaryGrad(Unary::Relu, y, dy) => ("relu'", vec![y, dy]),
        Step::Unary(Unary::HardSwish, a) => ("hard_swish", vec![a]),
        Step::UnaryGrad(Unary::HardSwish, x, dy) => ("hard_swish'", vec![x, dy]),
        Step::Binary(Binary::Add, a, b) => ("add", sorted(a, b)?.to_vec()),
        Step::Binary(Binary::Mul, a, b) => ("mul", sorted(a, b)?.to_vec()),
        Step::MulAdd(a, b, c) => {
            let [a, b] = sorted(a, b)?;
            ("fma", vec![a, b, c])
        }
        _ => return None,
    })
}

/// Gives inputs their numbers, in the order in which they appear.
fn name(
    steps: &[Step],
    inputs: &[Spread],
    v: usize,
    full: &mut Vec<usize>,
    row: &mut Vec<usize>,
) -> Option<String> {
    if let Step::Input(n) = steps[v] {
        let (letter, seen) = match inputs[n] {
            Spread::Full => ('F', full),
            Spread::Row => ('R', row),
            _ => return None,
        };
        let at = seen.iter().position(|&s| s == n).unwrap_or_else(|| {
            seen.push(n);
            seen.len() - 1
        });
        return Some(format!("{letter}{at}"));
    }
    let (op, mut operands) = operation(steps, inputs, v)?;
    if let (Step::Input(a), Step::Input(b), "add" | "mul" | "fma") =
        (steps[operands[0]], steps[*operands.get(1).unwrap_or(&operands[0])], op)
        && inputs[a] == inputs[b]
    {
        // of two alike, the one that was seen first
        let seen = if inputs[a] == Spread::Full { &full } else { &row };
        let at = |n| seen.iter().position(|&s| s == n).unwrap_or(usize::MAX);
        if at(b) < at(a) {
            operands.swap(0, 1);
        }
    }
    let mut parts = Vec::new();
    for o in operands {
        parts.push(name(steps, inputs, o, full, row)?);
    }
    Some(format!("{op}({})", parts.join(",")))
}

/// The loop for a program, if the table has one.
pub(super) fn search(
    isa: Isa,
    steps: &[Step],
    inputs: &[Spread],
    outputs: &[(usize, Sink, f32)],
) -> Option<Match> {
    let mut order = Vec::new();
    for (o, &(v, sink, factor)) in outputs.iter().enumerate() {
        let kind = match sink {
            Sink::Full if factor == 1.0 => "full",
            Sink::ColumnSums => "sums",
            _ => return None,
        };
        order.push((kind, shape_of(steps, inputs, v)?, o));
    }
    order.sort();
    let (mut full, mut row, mut text) = (vec![], vec![], String::new());
    for (kind, _, o) in &order {
        let part = name(steps, inputs, outputs[*o].0, &mut full, &mut row)?;
        text += &format!("{kind} {part};");
    }
    let f = find(&text, isa)?;
    let of = |kind: &str| order.iter().filter(|o| o.0 == kind).map(|o| o.2).collect();
    Some(Match { f, full, row, out: of("full"), sums: of("sums") })
}
