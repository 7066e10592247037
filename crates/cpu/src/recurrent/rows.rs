//! What is computed at one position of one sample.

use crate::isa::Isa;
use crate::lanes::Lanes;
use crate::math;
use crate::simd::{load_n, store_n};
use tidemill_graph::{Cell, ScanShape};

/// A position of a sample.
pub(super) struct Row {
    pub units: usize,
    /// The inputs by gate.
    pub x: *const f32,
    /// The recurrent product by gate, without the bias.
    pub product: *const f32,
    pub bias: *const f32,
    /// The state before, then after.
    pub h: *mut f32,
    /// The same of the cell, of an LSTM.
    pub c: *mut f32,
    pub y: *mut f32,
    /// What the gradients need; null where there are none.
    pub kept: *mut f32,
}

/// A position of a sample on the way back.
pub(super) struct GradRow {
    pub units: usize,
    pub kept: *const f32,
    /// The state before.
    pub before: *const f32,
    /// The cell before, of an LSTM.
    pub cell_before: *const f32,
    pub dy: *const f32,
    /// What comes from later positions; then what goes to earlier ones, without that through the product.
    pub dh: *mut f32,
    /// The same of the cell, of an LSTM.
    pub dc: *mut f32,
    pub dx: *mut f32,
    /// The gradient of the product; null where it is dx.
    pub dp: *mut f32,
    /// The same, for the product with the kernel.
    pub product: *mut f32,
}

pub(super) type RowFn = unsafe fn(row: &Row);
pub(super) type GradRowFn = unsafe fn(row: &GradRow);

/// The function of a cell.
pub(super) fn forward(isa: Isa, shape: ScanShape) -> RowFn {
    match shape.scan.cell {
        Cell::Gru { .. } => gru_on(isa),
        Cell::Lstm => lstm_on(isa),
    }
}

/// That of its gradient.
pub(super) fn backward(isa: Isa, shape: ScanShape) -> GradRowFn {
    match shape.scan.cell {
        Cell::Gru { .. } => gru_grad_on(isa),
        Cell::Lstm => lstm_grad_on(isa),
    }
}

/// Keeps `r, z, n` and the product of the new gate.
#[inline(always)]
unsafe fn gru<S: Lanes>(row: &Row) {
    let u = row.units;
    // SAFETY: x, product and bias have 3 u values, h and y u, kept 4 u or it is null.
    unsafe {
        for i in (0..u).step_by(S::LANES) {
            let n = u - i;
            let part = |from: *const f32, gate: usize| load_n::<S>(from.add(gate * u + i), n);
            let p = |gate: usize| S::add(part(row.product, gate), part(row.bias, gate));
            let r = S::add(part(row.x, 0), p(0));
            let z = S::add(part(row.x, 1), p(1));
            let (r, z) = (math::sigmoid::<S>(r), math::sigmoid::<S>(z));
            let p_new = p(2);
            let new = math::tanh::<S>(S::fma(r, p_new, part(row.x, 2)));
            // (1 - z) n + z h
            let h = S::fma(z, S::sub(load_n::<S>(row.h.add(i), n), new), new);
            store_n::<S>(row.h.add(i), h, n);
            store_n::<S>(row.y.add(i), h, n);
            if !row.kept.is_null() {
                for (gate, value) in [r, z, new, p_new].into_iter().enumerate() {
                    store_n::<S>(row.kept.add(gate * u + i), value, n);
                }
            }
        }
    }
}
kernel!(fn gru_on(row: &Row) = gru;);

#[inline(always)]
unsafe fn gru_grad<S: Lanes>(row: &GradRow) {
    let u = row.units;
    // SAFETY: kept has 4 u values, dx, dp and product 3 u, the others u.
    unsafe {
        let one = S::splat(1.0);
        for i in (0..u).step_by(S::LANES) {
            let n = u - i;
            let kept = |gate: usize| load_n::<S>(row.kept.add(gate * u + i), n);
            let (r, z, new, p_new) = (kept(0), kept(1), kept(2), kept(3));
            let dh = S::add(load_n::<S>(row.dy.add(i), n), load_n::<S>(row.dh.add(i), n));
            let before = load_n::<S>(row.before.add(i), n);
            let rest = S::sub(one, z);
            let dnew = S::mul(S::mul(dh, rest), S::sub(one, S::mul(new, new)));
            let dz = S::mul(S::mul(dh, S::sub(before, new)), S::mul(z, rest));
            let dr = S::mul(S::mul(dnew, p_new), S::mul(r, S::sub(one, r)));
            let dp_new = S::mul(dnew, r);
            store_n::<S>(row.dh.add(i), S::mul(dh, z), n);
            for (gate, value) in [dr, dz, dnew].into_iter().enumerate() {
                store_n::<S>(row.dx.add(gate * u + i), value, n);
            }
            for to in [row.dp, row.product] {
                for (gate, value) in [dr, dz, dp_new].into_iter().enumerate() {
                    store_n::<S>(to.add(gate * u + i), value, n);
                }
            }
        }
    }
}
kernel!(fn gru_grad_on(row: &GradRow) = gru_grad;);

/// Keeps `i, f, g, o` and the cell.
#[inline(always)]
unsafe fn lstm<S: Lanes>(row: &Row) {
    let u = row.units;
    // SAFETY: x and product have 4 u values, h, c and y u, kept 5 u or it is null.
    unsafe {
        for at in (0..u).step_by(S::LANES) {
            let n = u - at;
            let sum = |gate: usize| {
                let [x, p] = [row.x, row.product].map(|from| from.add(gate * u + at));
                S::add(load_n::<S>(x, n), load_n::<S>(p, n))
            };
            let (i, f) = (math::sigmoid::<S>(sum(0)), math::sigmoid::<S>(sum(1)));
            let (g, o) = (math::tanh::<S>(sum(2)), math::sigmoid::<S>(sum(3)));
            let c = S::fma(f, load_n::<S>(row.c.add(at), n), S::mul(i, g));
            let h = S::mul(o, math::tanh::<S>(c));
            store_n::<S>(row.c.add(at), c, n);
            store_n::<S>(row.h.add(at), h, n);
            store_n::<S>(row.y.add(at), h, n);
            if !row.kept.is_null() {
                for (gate, value) in [i, f, g, o, c].into_iter().enumerate() {
                    store_n::<S>(row.kept.add(gate * u + at), value, n);
                }
            }
        }
    }
}
kernel!(fn lstm_on(row: &Row) = lstm;);

/// The state before acts through the product alone: nothing is left in dh.
#[inline(always)]
unsafe fn lstm_grad<S: Lanes>(row: &GradRow) {
    let u = row.units;
    // SAFETY: kept has 5 u values, dx and product 4 u, the others u.
    unsafe {
        let one = S::splat(1.0);
        for at in (0..u).step_by(S::LANES) {
            let n = u - at;
            let kept = |gate: usize| load_n::<S>(row.kept.add(gate * u + at), n);
            let (i, f, g, o) = (kept(0), kept(1), kept(2), kept(3));
            let t = math::tanh::<S>(kept(4));
            let slope = |s: S::V| S::mul(s, S::sub(one, s));
            let dh = S::add(load_n::<S>(row.dy.add(at), n), load_n::<S>(row.dh.add(at), n));
            let through = S::mul(S::mul(dh, o), S::sub(one, S::mul(t, t)));
            let dc = S::add(load_n::<S>(row.dc.add(at), n), through);
            let before = load_n::<S>(row.cell_before.add(at), n);
            let di = S::mul(S::mul(dc, g), slope(i));
            let df = S::mul(S::mul(dc, before), slope(f));
            let dg = S::mul(S::mul(dc, i), S::sub(one, S::mul(g, g)));
            let dout = S::mul(S::mul(dh, t), slope(o));
            store_n::<S>(row.dh.add(at), S::splat(0.0), n);
            store_n::<S>(row.dc.add(at), S::mul(dc, f), n);
            for to in [row.dx, row.product] {
                for (gate, value) in [di, df, dg, dout].into_iter().enumerate() {
                    store_n::<S>(to.add(gate * u + at), value, n);
                }
            }
        }
    }
}
kernel!(fn lstm_grad_on(row: &GradRow) = lstm_grad;);
