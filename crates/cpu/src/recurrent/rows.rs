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
    pub dy: *const f32,
    /// What comes from later positions; then what goes to earlier ones, without that through the product.
    pub dh: *mut f32,
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
    }
}

/// That of its gradient.
pub(super) fn backward(isa: Isa, shape: ScanShape) -> GradRowFn {
    match shape.scan.cell {
        Cell::Gru { .. } => gru_grad_on(isa),
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
