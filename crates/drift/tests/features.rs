//! The watch over the columns of a stream.

#![allow(clippy::unwrap_used)]

use tidemill_drift::{FeatureDrift, FeatureDriftSpec};

/// Uniform in [0, 1); Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn watch(spec: FeatureDriftSpec, names: &[&str]) -> FeatureDrift {
    FeatureDrift::new(spec, names.iter().map(|&n| n.to_owned())).unwrap()
}

/// (event, text) of all that moved when column 1 moves by one standard deviation at 2,000; the
/// watch is saved and restored every `kill` events.
fn told(spec: FeatureDriftSpec, unit: f64, kill: usize) -> Vec<(usize, String)> {
    let mut watch = watch(spec, &["still", "moves", "constant", "rare", "jumps"]);
    let mut random = Random(7);
    let mut told = Vec::new();
    for i in 0..4000 {
        if i % kill == kill - 1 {
            let saved = serde_json::to_string(&watch).unwrap();
            watch = serde_json::from_str(&saved).unwrap();
        }
        let noise = |random: &mut Random| 12_f64.sqrt() * (random.uniform() - 0.5);
        let row = [
            10.0 + noise(&mut random),
            10.0 + noise(&mut random) + f64::from(u8::from(i >= 2000)),
            5.0,
            f64::from(u8::from(random.uniform() < 0.01)),
            if i < 3000 { 0.0 } else { 1.0 },
        ];
        told.extend(watch.update(row.map(|x| unit * x)).iter().map(|m| (i, m.to_string())));
    }
    assert_eq!(watch.events(), 4000);
    told
}

#[test]
fn the_columns_that_moved_are_named_in_any_unit() {
    let want = told(FeatureDriftSpec::default(), 1.0, usize::MAX);
    let [(moved, text), (jumped, jump)] = &want[..] else { panic!("{want:?}") };
    assert!((2000..2150).contains(moved), "{want:?}");
    assert!(text.starts_with("feature `moves` moved from 10.0"), "{text}");
    assert!((3000..3100).contains(jumped), "{want:?}");
    assert_eq!(jump, "feature `jumps` moved from 0.0 to 1.0");
    for unit in [2_f64.powi(-60), 2_f64.powi(60)] {
        let events = told(FeatureDriftSpec::default(), unit, usize::MAX);
        assert!(events.iter().map(|e| e.0).eq(want.iter().map(|e| e.0)), "{unit}: {events:?}");
    }
    assert_eq!(told(FeatureDriftSpec::default(), 1.0, 77), want, "killed");
}

#[test]
fn rounding_is_no_move() {
    let constants = [0.414912, 0.1, 1.0 / 3.0, 1e-30, 1_700_000_000.7, -7.7];
    let names = constants.map(|x| x.to_string());
    let mut watch = FeatureDrift::new(FeatureDriftSpec::default(), names).unwrap();
    for i in 0..300_000 {
        assert_eq!(watch.update(constants), [], "event {i}");
    }
}

#[test]
fn every_second_event_is_enough() {
    let spec = FeatureDriftSpec { every: 2, ..FeatureDriftSpec::default() };
    let found = told(spec.clone(), 1.0, usize::MAX);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|e| e.0 % 2 == 0));
    assert_eq!(told(spec, 1.0, 77), found, "killed");
}

#[test]
fn missing_values_are_skipped() {
    let mut whole = watch(FeatureDriftSpec::default(), &["a"]);
    let mut holes = watch(FeatureDriftSpec::default(), &["a", "never"]);
    let mut random = Random(3);
    for i in 0..3000 {
        let x = random.uniform() + f64::from(u8::from(i > 1500));
        let moves = whole.update([x]).to_vec();
        assert!(holes.update([f64::NAN, f64::NAN]).is_empty());
        assert!(holes.update([]).is_empty());
        assert_eq!(holes.update([x]), moves);
    }
    assert!(watch(FeatureDriftSpec::default(), &[]).update([1.0, 2.0]).is_empty());
}

#[test]
fn parameters_are_checked() {
    let spec: FeatureDriftSpec = toml::from_str("every = 10\ndelta = 0.01").unwrap();
    assert_eq!(spec, FeatureDriftSpec { delta: 0.01, every: 10, ..Default::default() });
    assert!(toml::from_str::<FeatureDriftSpec>("evry = 10").is_err());
    let none = FeatureDriftSpec { every: 0, ..Default::default() };
    assert_eq!(none.check().unwrap_err().to_string(), "every must be at least 1, found 0");
}
