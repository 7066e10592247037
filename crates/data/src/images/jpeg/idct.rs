//! From a block's frequencies to its pixels: 8 x 8 of them by the algorithm of Loeffler, Ligtenberg and Moschytz (1989) in the integers
//! of libjpeg's `jidctint`, or fewer by the low frequencies alone.

use std::array::from_fn;
use std::sync::LazyLock;

/// Eight values at once. Loops over them are written out: closures over arrays are not inlined into code for wider registers.
type Lanes = [i32; 8];

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    let mut out = [0; 8];
    for i in 0..8 {
        out[i] = a[i].wrapping_add(b[i]);
    }
    out
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    let mut out = [0; 8];
    for i in 0..8 {
        out[i] = a[i].wrapping_sub(b[i]);
    }
    out
}

#[inline(always)]
fn mul(a: Lanes, factor: i32) -> Lanes {
    let mut out = [0; 8];
    for i in 0..8 {
        out[i] = a[i].wrapping_mul(factor);
    }
    out
}

/// Without its lowest `drop` binary digits, rounded.
#[inline(always)]
fn rounded(a: Lanes, drop: u32) -> Lanes {
    let mut out = [0; 8];
    for i in 0..8 {
        out[i] = a[i].wrapping_add(1 << (drop - 1)) >> drop;
    }
    out
}

/// One dimension of eight lines at once: `v[k]` has frequency `k` of each. The result has 13 binary digits more, of which `drop` are
/// rounded off.
#[inline(always)]
fn lines(v: &[Lanes; 8], drop: u32) -> [Lanes; 8] {
    // The even part.
    let z1 = mul(add(v[2], v[6]), 4433);
    let (t2, t3) = (add(z1, mul(v[6], -15137)), add(z1, mul(v[2], 6270)));
    let (t0, t1) = (mul(add(v[0], v[4]), 1 << 13), mul(sub(v[0], v[4]), 1 << 13));
    let [e0, e1, e2, e3] = [add(t0, t3), add(t1, t2), sub(t1, t2), sub(t0, t3)];
    // The odd part.
    let z5 = mul(add(add(v[7], v[3]), add(v[5], v[1])), 9633);
    let z1 = mul(add(v[7], v[1]), -7373);
    let z2 = mul(add(v[5], v[3]), -20995);
    let z3 = add(mul(add(v[7], v[3]), -16069), z5);
    let z4 = add(mul(add(v[5], v[1]), -3196), z5);
    let o0 = add(mul(v[1], 12299), add(z1, z4));
    let o1 = add(mul(v[3], 25172), add(z2, z3));
    let o2 = add(mul(v[5], 16819), add(z2, z4));
    let o3 = add(mul(v[7], 2446), add(z1, z3));
    [
        rounded(add(e0, o0), drop),
        rounded(add(e1, o1), drop),
        rounded(add(e2, o2), drop),
        rounded(add(e3, o3), drop),
        rounded(sub(e3, o3), drop),
        rounded(sub(e2, o2), drop),
        rounded(sub(e1, o1), drop),
        rounded(sub(e0, o0), drop),
    ]
}

#[inline(always)]
fn transposed(v: &[Lanes; 8]) -> [Lanes; 8] {
    let mut out = [[0; 8]; 8];
    for i in 0..8 {
        for k in 0..8 {
            out[i][k] = v[k][i];
        }
    }
    out
}

/// 8 x 8 pixels into `out`, whose rows are `stride` apart. `block` has the frequencies by columns: `block[8 * u + v]` is the one of `u`
/// waves along a row and `v` along a column.
#[inline(always)]
pub(super) fn eight(block: &[i32; 64], out: &mut [u8], stride: usize) {
    let mut columns = [[0; 8]; 8];
    for (column, from) in columns.iter_mut().zip(block.as_chunks::<8>().0) {
        *column = *from;
    }
    let rows = transposed(&lines(&columns, 11));
    let pixels = lines(&rows, 18);
    for y in 0..8 {
        let mut row = [0; 8];
        for x in 0..8 {
            row[x] = (pixels[y][x] + 128).clamp(0, 255) as u8;
        }
        out[y * stride..y * stride + 8].copy_from_slice(&row);
    }
}

/// What each frequency adds to each of `n` pixels of a line, times 2^13; for 1, 2 and 4 of them.
static BASES: LazyLock<[[[i32; 4]; 4]; 3]> = LazyLock::new(|| {
    from_fn(|which| {
        let n = 1 << which;
        from_fn(|x| {
            from_fn(|u| {
                let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / f64::from(2 * n);
                let factor = if u == 0 { 0.125_f64.sqrt() } else { 0.5 };
                (factor * angle.cos() * 8192.0).round() as i32
            })
        })
    })
});

/// The same of `n` x `n` pixels, `n` 1, 2 or 4: those of an image of which each pixel is the mean of many.
pub(super) fn fewer(block: &[i32; 64], n: usize, out: &mut [u8], stride: usize) {
    let basis = &BASES[n.trailing_zeros() as usize];
    // [y][u], with 13 - 8 digits more.
    let mut columns = [[0; 4]; 4];
    for (y, row) in columns.iter_mut().enumerate().take(n) {
        for (u, cell) in row.iter_mut().enumerate().take(n) {
            let sum: i64 =
                (0..n).map(|v| i64::from(basis[y][v]) * i64::from(block[8 * u + v])).sum();
            *cell = sum >> 8;
        }
    }
    for (y, row) in columns.iter().enumerate().take(n) {
        for x in 0..n {
            let sum: i64 = (0..n).map(|u| i64::from(basis[x][u]) * row[u]).sum();
            out[y * stride + x] = (((sum + (1 << 17)) >> 18) + 128).clamp(0, 255) as u8;
        }
    }
}

/// All pixels alike: a block of which only the mean is known, times 8.
#[inline(always)]
pub(super) fn flat(mean: i32, n: usize, out: &mut [u8], stride: usize) {
    let value = ((mean.wrapping_add(4) >> 3) + 128).clamp(0, 255) as u8;
    for y in 0..n {
        out[y * stride..y * stride + n].fill(value);
    }
}
