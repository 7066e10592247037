//! What the kernels' tests share.

use crate::kernel::Kernel;

/// A small generator of test data.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    /// In [-2, 2).
    pub fn value(&mut self) -> f32 {
        (self.next() % (1 << 22)) as f32 / (1 << 20) as f32 - 2.0
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Runs the kernels one after another over the arguments, once with chunks in order and once
/// backwards (on fresh copies); asserts equal bits and nothing written past an argument's end.
pub(crate) fn run_all(kernels: &[&dyn Kernel], args: &mut [Vec<f32>]) {
    let mut results = Vec::new();
    for backwards in [false, true] {
        let mut buffers: Vec<Vec<f32>> = args.to_vec();
        for b in &mut buffers {
            b.extend([f32::from_bits(0x7fc0_1234); 16]);
        }
        let pointers: Vec<*mut f32> = buffers.iter_mut().map(|b| b.as_mut_ptr()).collect();
        for kernel in kernels {
            let mut order: Vec<usize> = (0..kernel.chunks()).collect();
            if backwards {
                order.reverse();
            }
            for chunk in order {
                let mut scratch = vec![f32::NAN; kernel.scratch_bytes() / 4 + 1];
                // SAFETY: the test gives buffers as the kernel documents them.
                unsafe { kernel.run(&pointers, chunk, scratch.as_mut_ptr()) };
            }
        }
        for (b, a) in buffers.iter_mut().zip(args.iter()) {
            assert!(
                b[a.len()..].iter().all(|x| x.to_bits() == 0x7fc0_1234),
                "written past the end"
            );
            b.truncate(a.len());
        }
        results.push(buffers);
    }
    let bits = |r: &[Vec<f32>]| -> Vec<Vec<u32>> {
        r.iter().map(|b| b.iter().map(|x| x.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&results[0]), bits(&results[1]), "the order of chunks changed bits");
    args.clone_from_slice(&results[0]);
}

/// Relative to the largest magnitude of the expected values, or 1e-3 if that is smaller.
pub(crate) fn close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size =
        expected.iter().fold(1e-3, |m: f64, e| if e.is_finite() { m.max(e.abs()) } else { m });
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let same = f64::from(f) == e || (f.is_nan() && e.is_nan());
        assert!(same || (f64::from(f) - e).abs() <= tolerance * size, "{what} [{i}]: {f}, not {e}");
    }
}
