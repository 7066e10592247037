#![allow(clippy::unwrap_used)]

use super::*;

const FANS: Fans = Fans { fan_in: 300, fan_out: 200 };

fn sample(initializer: Initializer) -> Vec<f32> {
    initializer.values(7, "layers.1.dense.kernel", &[300, 200], FANS)
}

fn moments(values: &[f32]) -> (f64, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let largest = values.iter().fold(0.0, |m: f64, &v| m.max(f64::from(v).abs()));
    (mean, variance, largest)
}

#[test]
fn random_ones_have_their_variance_and_bound() {
    use Initializer::*;
    // (initializer, variance, bound)
    let average = 250.0;
    let cut = |variance: f64| 2.0 * variance.sqrt() / TRUNCATED_STDDEV;
    let cases = [
        (GlorotUniform, 1.0 / average, (3.0f64 / average).sqrt()),
        (GlorotNormal, 1.0 / average, cut(1.0 / average)),
        (XavierNormal, 1.0 / average, f64::INFINITY),
        (HeUniform, 2.0 / 300.0, (6.0f64 / 300.0).sqrt()),
        (HeNormal, 2.0 / 300.0, cut(2.0 / 300.0)),
        (KaimingNormal, 2.0 / 300.0, f64::INFINITY),
        (KaimingUniformA5, 1.0 / 900.0, 1.0 / 300f64.sqrt()),
        (LecunUniform, 1.0 / 300.0, 0.1),
        (LecunNormal, 1.0 / 300.0, cut(1.0 / 300.0)),
        (Uniform { min: -0.05, max: 0.05 }, 0.01 / 12.0, 0.05),
        (Normal { mean: 0.0, stddev: 0.05 }, 0.0025, f64::INFINITY),
        (TruncatedNormal { mean: 0.0, stddev: 0.05 }, 0.0025 * TRUNCATED_STDDEV.powi(2), 0.1),
        (
            VarianceScaling {
                scale: 2.0,
                mode: FanMode::FanOut,
                distribution: Distribution::UntruncatedNormal,
            },
            0.01,
            f64::INFINITY,
        ),
    ];
    for (initializer, expected, bound) in cases {
        let (mean, variance, largest) = moments(&sample(initializer));
        assert!(mean.abs() < 4.0 * (expected / 60_000.0).sqrt(), "{initializer:?}: mean {mean}");
        assert!((variance / expected - 1.0).abs() < 0.03, "{initializer:?}: {variance}");
        assert!(largest <= bound * 1.000_001, "{initializer:?}: {largest} over {bound}");
        if bound.is_finite() {
            assert!(largest > bound * 0.99, "{initializer:?}: {largest} far below {bound}");
        } else {
            assert!(largest > 3.5 * expected.sqrt(), "{initializer:?} looks truncated");
        }
    }
}

#[test]
fn normals_are_normal() {
    let mut values = sample(Initializer::Normal { mean: 0.0, stddev: 1.0 });
    values.sort_by(f32::total_cmp);
    // Quantiles of the standard normal distribution.
    for (share, quantile) in [(0.025, -1.96), (0.1587, -1.0), (0.5, 0.0), (0.8413, 1.0)] {
        let found = f64::from(values[(share * values.len() as f64) as usize]);
        assert!((found - quantile).abs() < 0.03, "{share}: {found}, not {quantile}");
    }
}

#[test]
fn values_depend_on_seed_and_name_only() {
    let values = |seed, name| Initializer::HeNormal.values(seed, name, &[8, 4], FANS);
    assert_eq!(values(1, "a"), values(1, "a"));
    assert_ne!(values(1, "a"), values(2, "a"));
    assert_ne!(values(1, "a"), values(1, "b"));
    assert_eq!(values(1, "a"), Initializer::HeNormal.values(1, "a", &[4, 8], FANS));
}

#[test]
fn orthogonal_is_orthogonal() {
    for shape in [&[40, 12][..], &[12, 40], &[3, 3, 4, 20], &[16, 16]] {
        let values = Initializer::Orthogonal { gain: 1.5 }.values(3, "k", shape, FANS);
        let columns = *shape.last().unwrap();
        let rows = values.len() / columns;
        let at = |r: usize, c: usize| f64::from(values[r * columns + c]);
        let short = rows.min(columns);
        for i in 0..short {
            for j in 0..short {
                let product: f64 = if rows >= columns {
                    (0..rows).map(|r| at(r, i) * at(r, j)).sum()
                } else {
                    (0..columns).map(|c| at(i, c) * at(j, c)).sum()
                };
                let expected = if i == j { 2.25 } else { 0.0 };
                assert!((product - expected).abs() < 1e-5, "{shape:?} {i} {j}: {product}");
            }
        }
    }
}

#[test]
fn fans_of_kernels() {
    assert_eq!(Fans::of_kernel(&[784, 128]), Fans { fan_in: 784, fan_out: 128 });
    assert_eq!(Fans::of_kernel(&[3, 3, 16, 32]), Fans { fan_in: 144, fan_out: 288 });
    // Two groups of 8 channels each.
    assert_eq!(Fans::of_kernel(&[3, 3, 8, 32]), Fans { fan_in: 72, fan_out: 288 });
}

#[test]
fn identity_is_the_identity() {
    let values = Initializer::Identity { gain: 2.0 }.values(0, "k", &[2, 3], FANS);
    assert_eq!(values, [2.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
}

#[test]
fn names_and_tables() {
    let read = |text: &str| serde_json::from_str::<Initializer>(text).unwrap();
    assert_eq!(read("\"xavier_uniform\""), Initializer::GlorotUniform);
    assert_eq!(read("\"normal\""), Initializer::Normal { mean: 0.0, stddev: 0.05 });
    assert_eq!(read(r#"{"constant": {"value": 2}}"#), Initializer::Constant { value: 2.0 });
    assert_eq!(read("\"orthogonal\""), Initializer::Orthogonal { gain: 1.0 });
    let error = serde_json::from_str::<Initializer>("\"he\"").unwrap_err().to_string();
    assert!(error.contains("he_normal"), "{error}");
    for initializer in [Initializer::Zeros, Initializer::Normal { mean: 0.0, stddev: 1.0 }] {
        let text = serde_json::to_string(&initializer).unwrap();
        assert_eq!(read(&text), initializer);
    }
}
