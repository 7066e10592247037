//! The instruction sets that kernels exist for, found at run time.

/// An instruction set that every kernel has a version for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for the build's baseline; runs everywhere.
    Portable,
    /// AVX2 with FMA: 16 registers of 8 lanes.
    Avx2,
    /// AVX-512 F/VL/BW/DQ: 32 registers of 16 lanes.
    Avx512,
}

impl Isa {
    /// The fastest instruction set of this machine. `TIDEMILL_ISA=portable|avx2|avx512` asks for
    /// a lower one (tests and comparisons); one that the machine lacks is never chosen.
    pub fn detect() -> Isa {
        let best = Self::available().last().copied().unwrap_or(Isa::Portable);
        match std::env::var("TIDEMILL_ISA").as_deref() {
            Ok("portable") => Isa::Portable,
            Ok("avx2") => best.min(Isa::Avx2),
            _ => best,
        }
    }

    /// All instruction sets that this machine can run, slowest first.
    pub fn available() -> Vec<Isa> {
        let mut found = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa::Avx2);
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                {
                    found.push(Isa::Avx512);
                }
            }
        }
        found
    }

    /// f32 lanes of a register.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Portable | Isa::Avx2 => 8,
            Isa::Avx512 => 16,
        }
    }

    /// The name that reports print.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "AVX2+FMA",
            Isa::Avx512 => "AVX-512",
        }
    }
}
