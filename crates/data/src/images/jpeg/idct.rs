//! From a block's frequencies to its pixels: 8 x 8 of them by the algorithm of Loeffler, Ligtenberg and Moschytz (1989) in the integers
//! of libjpeg's `jidctint`, or fewer by the low frequencies alone.

use std::array::from_fn;
use std::sync::LazyLock;

/// Blocks that are computed together.
pub(super) const TOGETHER: usize = 8;

/// One frequency, or one row of pixels, of [`TOGETHER`] blocks.
type Line = [i32; 8 * TOGETHER];

/// [`TOGETHER`] blocks: `tile[u][8 * block + v]` is the frequency of `u` waves along a row and `v` along a column. The loops over
/// lines are long enough that the compiler makes wide registers of them; loops over 8 values it would unroll.
pub(super) type Tile = [Line; 8];

/// One dimension of all lines: `from[k]` has frequency `k` of each. The result has 13 binary digits more, of which `DROP` are
/// rounded off.
#[inline(always)]
fn lines<const DROP: u32>(from: &Tile, to: &mut Tile) {
    let half = 1 << (DROP - 1);
    for i in 0..8 * TOGETHER {
        // The even part.
        let (v0, v2, v4, v6) = (from[0][i], from[2][i], from[4][i], from[6][i]);
        let z1 = v2.wrapping_add(v6).wrapping_mul(4433);
        let t2 = z1.wrapping_add(v6.wrapping_mul(-15137));
        let t3 = z1.wrapping_add(v2.wrapping_mul(6270));
        let t0 = v0.wrapping_add(v4).wrapping_mul(1 << 13).wrapping_add(half);
        let t1 = v0.wrapping_sub(v4).wrapping_mul(1 << 13).wrapping_add(half);
        let (e0, e1) = (t0.wrapping_add(t3), t1.wrapping_add(t2));
        let (e2, e3) = (t1.wrapping_sub(t2), t0.wrapping_sub(t3));
        // The odd part.
        let (v1, v3, v5, v7) = (from[1][i], from[3][i], from[5][i], from[7][i]);
        let (a, b) = (v7.wrapping_add(v3), v5.wrapping_add(v1));
        let z5 = a.wrapping_add(b).wrapping_mul(9633);
        let z1 = v7.wrapping_add(v1).wrapping_mul(-7373);
        let z2 = v5.wrapping_add(v3).wrapping_mul(-20995);
        let z3 = a.wrapping_mul(-16069).wrapping_add(z5);
        let z4 = b.wrapping_mul(-3196).wrapping_add(z5);
        let o0 = v1.wrapping_mul(12299).wrapping_add(z1).wrapping_add(z4);
        let o1 = v3.wrapping_mul(25172).wrapping_add(z2).wrapping_add(z3);
        let o2 = v5.wrapping_mul(16819).wrapping_add(z2).wrapping_add(z4);
        let o3 = v7.wrapping_mul(2446).wrapping_add(z1).wrapping_add(z3);
        to[0][i] = e0.wrapping_add(o0) >> DROP;
        to[1][i] = e1.wrapping_add(o1) >> DROP;
        to[2][i] = e2.wrapping_add(o2) >> DROP;
        to[3][i] = e3.wrapping_add(o3) >> DROP;
        to[4][i] = e3.wrapping_sub(o3) >> DROP;
        to[5][i] = e2.wrapping_sub(o2) >> DROP;
        to[6][i] = e1.wrapping_sub(o1) >> DROP;
        to[7][i] = e0.wrapping_sub(o0) >> DROP;
    }
}

/// Each block with its rows and columns exchanged.
#[inline(always)]
fn transposed(from: &Tile, to: &mut Tile) {
    for block in 0..TOGETHER {
        for v in 0..8 {
            for x in 0..8 {
                to[v][8 * block + x] = from[x][8 * block + v];
            }
        }
    }
}

/// 8 x 8 pixels of each block of a tile into `out`, whose rows are `stride` apart; the first `width` pixels of each row.
#[inline(always)]
pub(super) fn eight(tile: &mut Tile, out: &mut [u8], width: usize, stride: usize) {
    let mut other = [[0; 8 * TOGETHER]; 8];
    lines::<11>(tile, &mut other);
    transposed(&other, tile);
    lines::<18>(tile, &mut other);
    for (y, line) in other.iter().enumerate() {
        let mut row = [0u8; 8 * TOGETHER];
        for i in 0..8 * TOGETHER {
            row[i] = (line[i] + 128).clamp(0, 255) as u8;
        }
        out[y * stride..y * stride + width].copy_from_slice(&row[..width]);
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

/// `n` x `n` pixels of one block of a tile, `n` 1, 2 or 4: those of an image of which each pixel is the mean of many.
pub(super) fn fewer(tile: &Tile, block: usize, n: usize, out: &mut [u8], stride: usize) {
    let basis = &BASES[n.trailing_zeros() as usize];
    // [y][u], with 13 - 8 digits more.
    let mut columns = [[0; 4]; 4];
    for (y, row) in columns.iter_mut().enumerate().take(n) {
        for (u, cell) in row.iter_mut().enumerate().take(n) {
            let value = |v: usize| i64::from(tile[u][8 * block + v]);
            let sum: i64 = (0..n).map(|v| i64::from(basis[y][v]) * value(v)).sum();
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
