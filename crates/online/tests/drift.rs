//! Drift: alarms, what is done about them, and that it all goes on after a stop.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::path::{Path, PathBuf};

use tidemill_engine::Existing;
use tidemill_engine::engine::EngineSpec;
use tidemill_engine::nn::{Activation, LossSpec, Model, OptimizerSpec};
use tidemill_engine::prequential::Truth;
use tidemill_online::StreamSummary;
use tidemill_online::driver::Until;
use tidemill_online::{DriftSpec, LearnOptions, Learner, learn};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::drift::{DetectorSpec, PageHinkleySpec};
use tidemill_recipe::online::drift::{Action, ChallengerSpec, From, RaiseRate, Watch};

fn learner(action: Action) -> Learner {
    let model = Model::features(3).dense(12, Activation::Tanh).dense(2, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    // Slow, as suits a stream that seldom changes: that is when actions matter.
    let optimizer = OptimizerSpec::sgd(0.005);
    let spec = EngineSpec {
        batch_size: 1,
        seed: 5,
        threads: Some(1),
        ..EngineSpec::new(model, loss, optimizer)
    };
    let mut learner = Learner::new(spec).unwrap();
    learner.watch_drift(DriftSpec { action: vec![action], ..DriftSpec::default() }).unwrap();
    learner
}

/// Events of two classes by a plane through three columns; after a drift the classes are exchanged.
/// One label of twenty is wrong.
fn event(i: u64, drifted: bool) -> ([f32; 3], usize) {
    let bits = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ bits >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = bits ^ bits >> 32;
    let x = [0, 16, 32].map(|shift| (bits >> shift & 0xffff) as f32 / 16384.0 - 2.0);
    let class = (x[0] + 0.5 * x[1] > 0.2) ^ drifted ^ (bits >> 48).is_multiple_of(20);
    (x, usize::from(class))
}

/// Accuracy over the 1,500 events after the drift at event 3,000, and how long the alarm took.
fn accuracy_after(action: Action) -> (f64, u64, Learner) {
    let mut learner = learner(action);
    let (mut right, mut delay) = (0, None);
    for i in 0..4500 {
        let (x, class) = event(i, i >= 3000);
        let alarms = learner.drift().unwrap().counts().alarms;
        learner.learn(&x, Truth::Class(class)).unwrap();
        let outputs = learner.scored(0).outputs;
        right += u64::from(i >= 3000 && (outputs[1] > outputs[0]) == (class == 1));
        if i >= 3000 && learner.drift().unwrap().counts().alarms > alarms {
            delay.get_or_insert(i - 3000);
        }
    }
    (right as f64 / 1500.0, delay.unwrap(), learner)
}

#[test]
fn actions_recover_sooner_than_the_log_alone() {
    let (log, delay, _) = accuracy_after(Action::Log {});
    assert!(delay <= 100, "the alarm came after {delay} events");
    let raise = RaiseRate { factor: 5.0, events: 500 };
    let challenger = ChallengerSpec { rate: 3.0, ..ChallengerSpec::default() };
    for (action, counted) in
        [(Action::RaiseRate(raise), "raised"), (Action::Challenger(challenger), "took over")]
    {
        let (accuracy, _, mut learner) = accuracy_after(action);
        println!("log {log:.4}, {counted} {accuracy:.4}");
        assert!(accuracy > log + 0.01, "{counted}: {accuracy} against {log}");
        let counts = *learner.drift().unwrap().counts();
        let n = if counted == "raised" { counts.raised } else { counts.takeovers };
        assert!(n >= 1, "{counts:?}");
        let notes = learner.drift_mut().unwrap().take_notes();
        assert!(notes.iter().any(|n| n.what == "drift: errors rose" && !n.done.is_empty()));
    }
}

/// Eager alarms on a stream that stays the same: challengers come, and none takes over.
#[test]
fn without_a_drift_nobody_takes_over() {
    let challenger = ChallengerSpec { from: From::Champion, events: 1000, ..Default::default() };
    let mut learner = learner(Action::Log {});
    let eager = PageHinkleySpec { delta: 0.0, threshold: 2.0, ..PageHinkleySpec::default() };
    let spec = DriftSpec {
        detector: Watch::Detector(DetectorSpec::PageHinkley(eager)),
        action: vec![Action::Challenger(challenger)],
        ..DriftSpec::default()
    };
    for i in 0..14_000 {
        if i == 2000 {
            learner.watch_drift(spec.clone()).unwrap();
        }
        let (x, class) = event(i, false);
        learner.learn(&x, Truth::Class(class)).unwrap();
    }
    let counts = learner.drift().unwrap().counts();
    assert!(counts.challengers >= 3 && counts.dropped >= 2, "{counts:?}");
    assert_eq!(counts.takeovers, 0);
}

const RECIPE: &str = r#"
[model]
input = { features = 3 }
layers = [{ dense = { units = 12, activation = "tanh" } }, { dense = { units = 2 } }]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 0.002 } }
[stream]
label = "class"
[online.drift]
features = true
"#;

fn recipe(sets: &[&str]) -> RecipeFile {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    RecipeFile::parse(RECIPE, Path::new("recipe.toml"), &sets).unwrap()
}

fn run(
    file: RecipeFile,
    from: &Path,
    out: &Path,
    existing: Existing,
    events: Option<u64>,
) -> StreamSummary {
    let options = LearnOptions {
        from: from.display().to_string(),
        out: out.to_owned(),
        existing,
        model: None,
        checkpoint: None,
        frozen: false,
        beside: None,
        from_start: false,
        threads: Some(1),
        memory: None,
        until: Until { events, seconds: None },
        rate: None,
        predictions: None,
        access: Default::default(),
        skip: Vec::new(),
        interrupt: Default::default(),
    };
    learn(file, &options, &mut |_| {}).unwrap().summary
}

/// A stream whose classes are exchanged after 1,500 events, when a column moves too.
fn stream(folder: &Path) -> PathBuf {
    let path = folder.join("events.csv");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    writeln!(file, "a,b,c,class").unwrap();
    for i in 0..3000 {
        let drifted = i >= 1500;
        let ([a, b, c], class) = event(i, drifted);
        let c = if drifted { c + 2.0 } else { c };
        writeln!(file, "{a},{b},{c},{class}").unwrap();
    }
    path
}

#[test]
fn a_run_that_was_stopped_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let events = stream(folder.path());
    for (action, stops) in [
        ("{ challenger = { rate = 2.0, events = 600 } }", &[1400, 1560, 1640, 1800, 2500][..]),
        ("[\"reset_slots\", { raise_rate = { events = 400 } }]", &[1530, 1700, 2000][..]),
        ("\"roll_back\"", &[1000, 1550, 1601][..]),
    ] {
        let sets = [format!("online.drift.action={action}"), "online.guard.keep_every=400".into()];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let out = |name: &str| folder.path().join(name);
        let (whole, parts) = (out("whole"), out("parts"));
        let want = run(recipe(&sets), &events, &whole, Existing::Replace, None);
        let mut existing = Existing::Replace;
        for &stop in stops {
            run(recipe(&sets), &events, &parts, existing, Some(stop));
            existing = Existing::Resume;
        }
        let got = run(recipe(&sets), &events, &parts, existing, None);
        let drift = |s: &StreamSummary| s.drift.unwrap();
        let counts = drift(&want);
        assert!(counts.alarms >= 1 && counts.moves >= 1, "{action}: {counts:?}");
        let acted = counts.challengers + counts.raised + counts.rollbacks;
        assert!(acted >= 1, "{action}: {counts:?}");
        assert_eq!(drift(&got), counts, "{action}");
        assert_eq!(got.run.state_sha256, want.run.state_sha256, "{action}");
        let lines = |run: &Path| std::fs::read_to_string(run.join("audit.jsonl")).unwrap();
        assert_eq!(lines(&parts), lines(&whole));
        assert!(lines(&whole).contains(r#""column":"c""#), "{}", lines(&whole));
        let report = std::fs::read_to_string(whole.join("report.html")).unwrap();
        assert!(report.contains("<h2>Drift</h2>"));
    }
}

#[test]
fn mistakes_are_told_by_line() {
    let told = |set: &str| {
        let set = [set.to_string()];
        RecipeFile::parse(RECIPE, Path::new("r.toml"), &set).unwrap_err().to_string()
    };
    let message = told("online.drift.detector={ adwin = { delta = 2.0 } }");
    assert!(message.contains("online.drift.detector.adwin.delta must be above 0"), "{message}");
    let message = told("online.drift.action={ raise_rate = { factor = 0.0 } }");
    assert!(message.contains("online.drift.action.raise_rate.factor must be above 0"), "{message}");
    let message = told("online.drift.action=pray");
    assert!(message.contains("pray"), "{message}");
}

/// Figures for the eye: what each action comes to on two public streams.
#[test]
fn public_streams() {
    let Some(data) = std::env::var_os("TIDEMILL_DATA").map(PathBuf::from) else {
        println!("skipped: TIDEMILL_DATA is not set");
        return;
    };
    for (name, features) in [("sea/sea_50k.csv.gz", 3), ("electricity/elec2_8.csv.gz", 8)] {
        let from = data.join(name);
        if !from.exists() {
            println!("skipped: {} is not there", from.display());
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        for action in [
            "log",
            "{ raise_rate = {} }",
            "reset_slots",
            "{ challenger = {} }",
            "{ challenger = { from = \"champion\", rate = 3.0 } }",
            "roll_back",
        ] {
            let sets = [
                format!("online.drift.action={action}"),
                format!("model.input.features={features}"),
            ];
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            let out = folder.path().join("run");
            let summary = run(recipe(&sets), &from, &out, Existing::Replace, None);
            let (accuracy, counts) = (summary.prequential["accuracy"], summary.drift.unwrap());
            println!("{name} {action}: accuracy {:.2} %  {counts:?}", 100.0 * accuracy);
            assert!(accuracy > 0.6, "{name} {action}");
        }
    }
}
