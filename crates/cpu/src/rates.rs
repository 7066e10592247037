//! What this machine does: measured, since a specification sheet tells neither the clock under
//! vector load nor what neighbours leave of the memory.

use crate::buffer::AlignedBuffer;
use crate::isa::Isa;
use crate::simd::Simd;
use crate::threads::{NOTHING, Pool, Tasks};
use std::time::Instant;
use tidemill_plan::Rates;

crate::kernel!(fn multiply_add_on(rounds: usize) -> f32 = multiply_add;);

/// Twelve independent chains, enough to fill the pipelines of every machine seen so far.
#[inline(always)]
unsafe fn multiply_add<S: Simd>(rounds: usize) -> f32 {
    // SAFETY: the entry function has the instruction set.
    unsafe {
        let factor = S::splat(std::hint::black_box(0.999));
        let mut sums = [S::splat(std::hint::black_box(1.0)); 12];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = S::fma(*sum, factor, factor);
            }
        }
        let mut total = 0.0;
        for sum in sums {
            total += S::sum(sum);
        }
        total
    }
}

crate::kernel!(fn stream_on(x: *mut f32, len: usize) = stream;);

/// Reads and writes every value.
#[inline(always)]
unsafe fn stream<S: Simd>(x: *mut f32, len: usize) {
    // SAFETY: the caller gives `len` values; only whole registers within are touched.
    unsafe {
        let factor = S::splat(std::hint::black_box(1.0));
        for i in (0..len / S::LANES * S::LANES).step_by(S::LANES) {
            S::store(x.add(i), S::mul(S::load(x.add(i)), factor));
        }
    }
}

const ROUNDS: usize = 40_000;

struct Arithmetic {
    isa: Isa,
    threads: usize,
}

impl Tasks for Arithmetic {
    fn len(&self) -> usize {
        1
    }
    fn chunks(&self, _task: usize) -> usize {
        self.threads
    }
    unsafe fn run(&self, _task: usize, _chunk: usize, _thread: usize) {
        // SAFETY: the set is available, as `measure`'s caller says.
        std::hint::black_box(unsafe { multiply_add_on(self.isa)(ROUNDS) });
    }
}

struct Streams {
    isa: Isa,
    buffers: Vec<AlignedBuffer>,
}

impl Tasks for Streams {
    fn len(&self) -> usize {
        1
    }
    fn chunks(&self, _task: usize) -> usize {
        self.buffers.len()
    }
    unsafe fn run(&self, _task: usize, chunk: usize, _thread: usize) {
        let buffer = &self.buffers[chunk];
        // SAFETY: each chunk has a buffer of its own.
        unsafe { stream_on(self.isa)(buffer.as_mut_ptr(), buffer.len()) };
    }
}

/// Measures the best rates of `threads` threads within some milliseconds; `working_set` is the
/// number of bytes that a step touches, which decides the cache that feeds it.
pub fn measure(isa: Isa, threads: usize, working_set: usize) -> Rates {
    let mut pool = Pool::new(threads);
    let threads = pool.threads();
    let mut best = |tasks: &dyn Tasks| {
        let times = (0..12).map(|_| {
            let start = Instant::now();
            pool.run(tasks, true, NOTHING);
            start.elapsed().as_secs_f64()
        });
        times.fold(f64::INFINITY, f64::min)
    };
    let flops = (2 * 12 * isa.lanes() * ROUNDS * threads) as f64;
    let arithmetic = best(&Arithmetic { isa, threads });
    let len = (working_set / 4 / threads).clamp(1 << 14, 1 << 23);
    let buffers = (0..threads).map(|_| AlignedBuffer::new(len)).collect();
    let memory = best(&Streams { isa, buffers });
    Rates { flops: flops / arithmetic, bytes: (8 * len * threads) as f64 / memory }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_plausible() {
        let rates = measure(Isa::detect(), 1, 1 << 20);
        assert!(rates.flops > 1e8 && rates.flops < 1e13, "{rates:?}");
        assert!(rates.bytes > 1e8 && rates.bytes < 1e13, "{rates:?}");
    }
}
