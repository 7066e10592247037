//! Values and parameters that make no sense, streams in which nothing happens, damaged states.

#![allow(clippy::unwrap_used)]

use tidemill_drift::{Detector, DetectorSpec, LARGEST_VALUE, Signal};

const ALL: [&str; 7] = ["adwin", "ddm", "eddm", "hddm_a", "hddm_w", "kswin", "page_hinkley"];

#[derive(serde::Deserialize)]
struct Recipe {
    drift: DetectorSpec,
}

fn spec(text: &str) -> Result<DetectorSpec, toml::de::Error> {
    toml::from_str(&format!("drift = {{ {text} }}")).map(|recipe: Recipe| recipe.drift)
}

fn detector(name: &str) -> Detector {
    Detector::new(spec(&format!("{name} = {{}}")).unwrap()).unwrap()
}

#[test]
fn recipes_round_trip() {
    for name in ALL {
        let spec = spec(&format!("{name} = {{}}")).unwrap();
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.starts_with(&format!("{{\"{name}\":{{")), "{text}");
        assert_eq!(serde_json::from_str::<DetectorSpec>(&text).unwrap(), spec);
        assert_eq!(Detector::new(spec.clone()).unwrap().spec(), spec);
    }
}

#[test]
fn mistakes_are_told() {
    let unknown = spec("adwin = { detla = 0.1 }").unwrap_err().to_string();
    assert!(unknown.contains("unknown field `detla`") && unknown.contains("`delta`"), "{unknown}");
    let unknown = spec("adwn = {}").unwrap_err().to_string();
    assert!(unknown.contains("unknown variant `adwn`"), "{unknown}");
    let cases = [
        ("adwin = { delta = 2 }", "adwin.delta must be above 0 and below 1, found 2"),
        ("adwin = { delta = nan }", "adwin.delta must be above 0 and below 1, found NaN"),
        ("adwin = { clock = 0 }", "adwin.clock must be at least 1, found 0"),
        ("adwin = { max_buckets = 1 }", "adwin.max_buckets must be 2 to 1000, found 1"),
        (
            "adwin = { min_window_length = 0 }",
            "adwin.min_window_length must be at least 1, found 0",
        ),
        (
            "ddm = { drift_threshold = 1.5 }",
            "ddm.drift_threshold must be at least warning_threshold = 2, found 1.5",
        ),
        ("eddm = { beta = 0.99 }", "eddm.beta must be at most alpha = 0.95, found 0.99"),
        (
            "hddm_a = { drift_confidence = 0 }",
            "hddm_a.drift_confidence must be above 0 and below 1, found 0",
        ),
        (
            "hddm_w = { drift_confidence = 0.1 }",
            "hddm_w.drift_confidence must be at most warning_confidence = 0.005, found 0.1",
        ),
        ("hddm_w = { lambda_val = 0 }", "hddm_w.lambda_val must be above 0 and at most 1, found 0"),
        (
            "kswin = { window_size = 50 }",
            "kswin.window_size must be 60 (twice stat_size) to 1000000, found 50",
        ),
        ("kswin = { stat_size = 0 }", "kswin.stat_size must be 1 to 10000, found 0"),
        (
            "page_hinkley = { threshold = inf }",
            "page_hinkley.threshold must be a finite number of at least 0, found inf",
        ),
    ];
    for (text, message) in cases {
        let error = Detector::new(spec(text).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn values_that_are_none_change_nothing() {
    for name in ALL {
        let mut detector = detector(name);
        let errors_only = ["ddm", "eddm", "hddm_a", "hddm_w"].contains(&name);
        let mut bad = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2e100, -2e100];
        if errors_only {
            bad.extend([-0.001, 1.001, LARGEST_VALUE]);
        }
        // Right after a drift too: the detector must not start anew with a value it rejects.
        let mut drifts = 0;
        for i in 0..3000 {
            let signal =
                detector.update(f64::from(u8::from(i % 20 == 0 || i > 1500 && i % 2 == 0)));
            drifts += usize::from(signal == Signal::Drift);
            let before = serde_json::to_string(&detector).unwrap();
            let rejected = detector.rejected();
            for &x in &bad {
                assert_eq!(detector.update(x), Signal::None, "{name} {x}");
            }
            assert_eq!(detector.rejected(), rejected + bad.len() as u64);
            let strip = |text: &str| text.rsplit_once("\"rejected\"").unwrap().0.to_owned();
            assert_eq!(strip(&serde_json::to_string(&detector).unwrap()), strip(&before), "{name}");
        }
        // The deviations from a mean of 0.05 to 0.5 do not add up to 50 in Page-Hinkley's default.
        assert!(drifts > 0, "{name}");
    }
}

#[test]
fn extreme_values_leave_a_detector_able_to_hear() {
    for name in ["adwin", "kswin", "page_hinkley"] {
        let mut detector = detector(name);
        for i in 0..2000 {
            detector.update(if i % 2 == 0 { LARGEST_VALUE } else { -LARGEST_VALUE });
        }
        detector.reset();
        let heard =
            (0..2000).any(|i| detector.update(if i < 1000 { 0.0 } else { 1.0 }) > Signal::None);
        assert!(heard, "{name}");
        assert_eq!(detector.rejected(), 0);
    }
}

#[test]
fn a_constant_never_drifts() {
    for name in ALL {
        for x in [0.0, 1.0, 0.3, 1.0 / 3.0] {
            let mut detector = detector(name);
            // EDDM takes 1 for an error: at distance 1, always.
            let drift = (0..20_000).find(|_| detector.update(x) != Signal::None);
            assert_eq!(drift, None, "{name} {x}");
        }
    }
}

#[test]
fn an_empty_detector_can_be_saved_and_reset() {
    for name in ALL {
        let mut detector = detector(name);
        detector.reset();
        let saved = serde_json::to_string(&detector).unwrap();
        assert_eq!(serde_json::from_str::<Detector>(&saved).unwrap(), detector);
        assert_eq!((detector.last(), detector.change()), (Signal::None, None));
    }
}

#[test]
fn adwin_needs_little_memory() {
    println!("a detector is {} bytes", size_of::<Detector>());
    assert!(size_of::<Detector>() <= 256);
    let mut detector = detector("adwin");
    for i in 0..1_000_000 {
        detector.update(f64::from(i % 2));
    }
    assert_eq!(detector.window(), Some((1_000_000, 0.5)));
    assert!(serde_json::to_string(&detector).unwrap().len() < 6000);
}

#[test]
fn a_damaged_state_is_refused() {
    let mut adwin = detector("adwin");
    let mut kswin = detector("kswin");
    for i in 0..150 {
        adwin.update(f64::from(i % 3));
        kswin.update(f64::from(i % 3));
    }
    let adwin = serde_json::to_value(&adwin).unwrap();
    let kswin = serde_json::to_value(&kswin).unwrap();
    let damage = |mut state: serde_json::Value, at: &str, value: serde_json::Value| {
        *state.pointer_mut(at).unwrap() = value;
        serde_json::from_value::<Detector>(state).unwrap_err().to_string()
    };
    for (at, value) in [
        ("/state/adwin/lens/0", 7.into()),
        ("/state/adwin/lens", serde_json::json!([])),
        ("/state/adwin/sums", serde_json::json!([1, 2])),
        ("/state/adwin/width", 3.into()),
        ("/state/adwin/spec/max_buckets", 900.into()),
    ] {
        let error = damage(adwin.clone(), at, value);
        assert!(error.contains("damaged"), "{at}: {error}");
    }
    for (at, value) in [
        ("/state/kswin/oldest", 100.into()),
        ("/state/kswin/window", serde_json::json!([1])),
        ("/state/kswin/random/state", serde_json::json!([1, 2, 3])),
        ("/state/kswin/random/next", 625.into()),
    ] {
        let error = damage(kswin.clone(), at, value);
        assert!(error.contains("damaged"), "{at}: {error}");
    }
    let error = damage(kswin, "/state/kswin/spec/alpha", 7.into());
    assert!(error.contains("kswin.alpha must be"), "{error}");
}
