//! Plain Rust vectors of 8 lanes, left to the compiler to vectorise.

use super::Simd;

/// The portable instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

type V = [f32; 8];

#[inline(always)]
fn map(a: V, f: impl Fn(f32) -> f32) -> V {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3]), f(a[4]), f(a[5]), f(a[6]), f(a[7])]
}

#[inline(always)]
fn zip<T: Copy>(a: V, b: V, f: impl Fn(f32, f32) -> T) -> [T; 8] {
    [
        f(a[0], b[0]),
        f(a[1], b[1]),
        f(a[2], b[2]),
        f(a[3], b[3]),
        f(a[4], b[4]),
        f(a[5], b[5]),
        f(a[6], b[6]),
        f(a[7], b[7]),
    ]
}

impl Simd for Portable {
    type V = V;
    type M = [bool; 8];
    const LANES: usize = 8;
    const REGISTERS: usize = 12;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        // SAFETY: the caller gives 8 readable values.
        unsafe { p.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        // SAFETY: the caller gives 8 writable values.
        unsafe { p.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> V {
        let mut v = [0.0; 8];
        for (i, lane) in v.iter_mut().enumerate().take(n) {
            // SAFETY: the caller gives n readable values.
            *lane = unsafe { *p.add(i) };
        }
        v
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: V, n: usize) {
        for (i, &lane) in v.iter().enumerate().take(n) {
            // SAFETY: the caller gives n writable values.
            unsafe { *p.add(i) = lane };
        }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // not mul_add: without FMA hardware that is a slow library call
        let product = zip(a, b, |x, y| x * y);
        zip(product, c, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |x, y| x / y)
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    unsafe fn abs(a: V) -> V {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // adding and taking away 1.5 * 2^23 rounds to nearest even for |x| < 2^22, without a call
        map(a, |x| if x.abs() < 4_194_304.0 { (x + 12_582_912.0) - 12_582_912.0 } else { x })
    }
    #[inline(always)]
    unsafe fn gt(a: V, b: V) -> [bool; 8] {
        zip(a, b, |x, y| x > y)
    }
    #[inline(always)]
    unsafe fn ge(a: V, b: V) -> [bool; 8] {
        zip(a, b, |x, y| x >= y)
    }
    #[inline(always)]
    unsafe fn eq(a: V, b: V) -> [bool; 8] {
        zip(a, b, |x, y| x == y)
    }
    #[inline(always)]
    unsafe fn nonzero(a: V) -> u32 {
        a.iter().enumerate().fold(0, |bits, (i, &x)| bits | u32::from(x != 0.0) << i)
    }
    #[inline(always)]
    unsafe fn select(m: [bool; 8], a: V, b: V) -> V {
        let mut v = b;
        for i in 0..8 {
            v[i] = if m[i] { a[i] } else { b[i] };
        }
        v
    }
    #[inline(always)]
    unsafe fn exp2_int(n: V) -> V {
        map(n, |x| f32::from_bits((((x as i32) + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn frexp(x: V) -> (V, V) {
        let m = map(x, |x| f32::from_bits((x.to_bits() & 0x007f_ffff) | 0x3f00_0000));
        let e = map(x, |x| ((x.to_bits() >> 23) as i32 - 126) as f32);
        (m, e)
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn max_lane(a: V) -> f32 {
        a.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn transpose(
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        out: *mut f32,
        out_stride: usize,
    ) {
        debug_assert!(rows <= 8 && cols <= 8);
        for j in 0..cols {
            let mut v = [0.0; 8];
            for (i, lane) in v.iter_mut().enumerate().take(rows) {
                // SAFETY: the caller gives a readable block of rows x cols values.
                *lane = unsafe { *src.add(i * stride + j) };
            }
            // SAFETY: the caller gives room for `cols` vectors.
            unsafe { Self::store(out.add(j * out_stride), v) };
        }
    }
}
