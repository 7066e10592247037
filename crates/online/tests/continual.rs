//! Replay, anchors and plasticity: exact after any stop, the same for any number of threads, and
//! refused with a reason where they make no sense.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use tidemill_engine::checkpoint::{read_tensors, state_sha256};
use tidemill_engine::engine::{Engine, EngineSpec, StateTensor};
use tidemill_engine::folder::Existing;
use tidemill_engine::nn::{Activation, LossSpec, Model, OptimizerSpec};
use tidemill_engine::prequential::{PrequentialSpec, Truth};
use tidemill_online::continual::{
    AnchorSpec, ContinualBackpropSpec, PlasticitySpec, ReplayPolicy, ReplaySpec,
};
use tidemill_online::driver::Until;
use tidemill_online::{ContinualSpec, GuardSpec, LearnOptions, Learner, learn};
use tidemill_recipe::RecipeFile;

/// Events of which the class is easy to learn.
fn event(i: u64) -> ([f32; 4], usize) {
    let bits = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = [0, 16, 32, 48].map(|shift| (bits >> shift & 0xffff) as f32 / 32768.0 - 1.0);
    let class = usize::from(x[0] + x[1] > 0.0) + usize::from(x[2] > 0.5);
    (x, class)
}

const RECIPE: &str = r#"[model]
input  = { features = 4 }
layers = [
    { dense = { units = 16, activation = "tanh" } },
    { dense = { units = 12, activation = "relu" } },
    { dense = { units = 3 } },
]
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }
seed      = 5
[batch]
data = { csv = { path = "batch.csv", label = "class", standardize = false } }
[stream]
format = "json_lines"
label  = "label"
[online]
learning_rate = 0.01
classes = ["0", "1", "2"]
guard = { keep_every = 300, spike = 4.0, window = 100, within = 20, rollback_after = 5 }
"#;

const REPLAY: &str = "online.replay={ capacity = 50, policy = 'class_balanced', per_step = 4 }";
const BACKPROP: &str =
    "online.plasticity={ continual_backprop = { replacement_rate = 1e-2, maturity = 20 } }";
const PERTURB: &str = "online.plasticity={ shrink_and_perturb = { every = 70 } }";
const L2: &str = "online.anchor={ l2 = 0.1 }";
const EWC: &str = "online.anchor={ ewc = { lambda = 100.0, samples = 50 } }";

fn recipe(folder: &Path, set: &[&str]) -> RecipeFile {
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    RecipeFile::parse(RECIPE, &folder.join("recipe.toml"), &set).unwrap()
}

/// Events, so many of them in a row far out and with wrong labels that the guard refuses all it sees: enough for a rollback.
fn stream(folder: &Path, events: u64) -> String {
    let mut lines = String::new();
    for i in 0..events {
        let (x, class) = event(i);
        let (x, class) = match i {
            700..820 => (x.map(|v| v * 1e6), (class + 1) % 3),
            _ => (x, class),
        };
        lines += &format!("{{\"x\": {x:?}, \"label\": {class}}}\n");
    }
    let path = folder.join("events.jsonl");
    std::fs::write(&path, lines).unwrap();
    let mut csv = String::from("a,b,c,d,class\n");
    for i in 0..200 {
        let ([a, b, c, d], class) = event(10_000 + i);
        csv += &format!("{a},{b},{c},{d},{class}\n");
    }
    std::fs::write(folder.join("batch.csv"), csv).unwrap();
    path.display().to_string()
}

/// Learns from the events at `from` up to event `stop`, in the run at `out`.
fn options(from: &str, out: &Path, stop: u64, threads: usize) -> LearnOptions {
    LearnOptions {
        from: from.to_owned(),
        out: out.to_owned(),
        existing: if out.exists() { Existing::Resume } else { Existing::Refuse },
        model: None,
        checkpoint: None,
        frozen: false,
        beside: None,
        from_start: false,
        threads: Some(threads),
        memory: None,
        until: Until { events: Some(stop), seconds: None },
        rate: None,
        predictions: None,
        access: Default::default(),
        skip: Vec::new(),
        interrupt: Arc::default(),
    }
}

/// Learns up to each of these events in a process of its own kind; the bits in the end.
fn run(name: &str, set: &[&str], stops: &[u64], threads: usize) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let from = stream(folder.path(), 1000);
    let out = folder.path().join(name);
    for &stop in stops {
        let options = options(&from, &out, stop, threads);
        let done = learn(recipe(folder.path(), set), &options, &mut |_| {}).unwrap();
        if stop == 1000 {
            assert!(done.summary.rollbacks > 0, "{name}");
        }
    }
    let latest = std::fs::read_to_string(out.join("checkpoints/latest")).unwrap();
    let path = out.join("checkpoints").join(latest.trim()).join("state.safetensors");
    let tensors = read_tensors(&path).unwrap().into_iter();
    tensors.map(|t| (t.name, t.values.bytes().unwrap().to_vec())).collect()
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    let cases: [(&str, &[&str]); 5] = [
        ("backprop", &[REPLAY, BACKPROP]),
        ("reservoir", &["online.replay={ capacity = 30 }", L2]),
        ("perturb", &[REPLAY, PERTURB]),
        ("ewc", &[EWC]),
        ("sizes", &[REPLAY, BACKPROP, "online.batch_size=4"]),
    ];
    for (name, set) in cases {
        let whole = run(name, set, &[1000], 1);
        let continual = whole.iter().filter(|(name, _)| name.starts_with("continual/")).count();
        let good = whole.iter().filter(|(name, _)| name.starts_with("good/continual/")).count();
        assert!(continual > 0 && continual == good, "{name}: {continual} {good}");
        for stops in [&[60, 1000][..], &[4, 300, 704, 708, 1000]] {
            let parts = run(name, set, stops, 1);
            assert!(whole == parts, "{name}: {}", difference(&whole, &parts));
        }
        let threads = run(name, set, &[1000], 2);
        assert!(whole == threads, "{name}: {}", difference(&whole, &threads));
    }
}

#[test]
fn a_checkpoint_of_an_earlier_version_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let from = stream(folder.path(), 100);
    let file = || recipe(folder.path(), &[REPLAY, BACKPROP]);
    for (name, dtype) in
        [("replay.counts", "U64"), ("replay.labels", "I32"), ("layers.0.dense.age", "U64")]
    {
        let out = folder.path().join(name);
        let done = learn(file(), &options(&from, &out, 50, 1), &mut |_| {}).unwrap();
        let checkpoints = done.folder.checkpoints(1);
        let mut newest = checkpoints.latest().unwrap().unwrap();
        let name = format!("continual/{name}");
        let tensor = newest.tensors.iter_mut().find(|t| t.name == name).unwrap();
        // Counts were three floats each.
        tensor.shape = vec![3 * tensor.values.len()];
        tensor.values = vec![0.0_f32; tensor.shape[0]].into();
        newest.meta.state_sha256 = state_sha256(&newest.tensors).unwrap();
        checkpoints.write(&newest.meta, &newest.tensors).unwrap();
        let error =
            learn(file(), &options(&from, &out, 100, 1), &mut |_| {}).unwrap_err().to_string();
        let want = format!(
            "checkpoints/50: the tensor {name} is F32, and {dtype} is expected: the run was written \
             by an earlier version; help: "
        );
        assert!(error.contains(&want), "{error}");
    }
}

fn difference(a: &[(String, Vec<u8>)], b: &[(String, Vec<u8>)]) -> String {
    let different = a.iter().zip(b).filter(|(a, b)| a != b).map(|(a, _)| a.0.as_str());
    format!("{} and {} tensors; {:?}", a.len(), b.len(), different.collect::<Vec<_>>())
}

#[test]
fn mistakes_are_told_with_their_key() {
    let told = |set: &[&str]| {
        let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
        match RecipeFile::parse(RECIPE, Path::new("recipe.toml"), &set) {
            Err(e) => e.to_string(),
            Ok(file) => match tidemill_online::model::build(&file, Some(1), None) {
                Err(e) => e.to_string(),
                Ok(_) => panic!("{set:?} is no mistake"),
            },
        }
    };
    let cases: [(&[&str], &str); 9] = [
        (&["online.replay={ capacity = 0 }"], "online.replay.capacity must be a positive integer"),
        (&["online.replay={ capacity = 5, per_step = 0 }"], "online.replay.per_step must be"),
        (&["online.replay={ capacity = 5, policy = 'fifo' }"], "reservoir"),
        (&["online.anchor={ l2 = -1.0 }"], "online.anchor.l2 must be a number of 0 or more"),
        (&[L2, BACKPROP], "work against each other"),
        (
            &["online.plasticity={ continual_backprop = { replacement_rate = 2.0 } }"],
            "replacement_rate must be a number from 0 to 1, found 2",
        ),
        (&[BACKPROP, "training.optimizer={ ftrl = {} }"], "does not go with ftrl"),
        (&[BACKPROP, "model.layers=[{ dense = { units = 3 } }]"], "needs hidden units"),
        (&[REPLAY, "training.loss='mean_squared_error'"], "needs classes"),
    ];
    for (set, expected) in cases {
        let told = told(set);
        assert!(told.contains(expected), "{set:?}: {told}");
    }
}

fn engine(units: usize) -> Engine {
    let model = Model::features(4).dense(units, Activation::Relu).dense(3, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let optimizer = OptimizerSpec::sgd(0.05);
    let spec = EngineSpec {
        batch_size: 1,
        seed: 3,
        threads: Some(1),
        ..EngineSpec::new(model, loss, optimizer)
    };
    Engine::compile(spec).unwrap()
}

fn learner(continual: &ContinualSpec) -> Learner {
    let (metrics, guard) = (PrequentialSpec::default(), GuardSpec::default());
    let mut learner = Learner::with(engine(20), metrics, guard).unwrap();
    learner.set_continual(continual).unwrap();
    learner
}

#[test]
fn only_new_events_are_scored() {
    let replay = ReplaySpec { capacity: 20, policy: ReplayPolicy::Reservoir, per_step: 7 };
    let mut learner = learner(&ContinualSpec { replay: Some(replay), ..Default::default() });
    for i in 0..300 {
        let (x, class) = event(i);
        let said = learner.predict(&x).unwrap().to_vec();
        learner.learn(&x, Truth::Class(class)).unwrap();
        for (said, scored) in said.iter().zip(learner.scored(0).outputs) {
            assert!((said - scored).abs() < 1e-5, "{said} {scored}");
        }
    }
    let events = learner.figures()["events"];
    assert_eq!(events, 300.0);
}

#[test]
fn a_strong_anchor_holds_and_a_rollback_keeps_it() {
    let weights = |learner: &Learner| learner.engine().state().into_tensors();
    let moved = |spec: ContinualSpec| {
        let mut learner = learner(&spec);
        let before = weights(&learner);
        for i in 0..800 {
            let (x, class) = event(i);
            learner.learn(&x, Truth::Class(class)).unwrap();
        }
        let pairs = before.iter().zip(weights(&learner));
        let far = |(a, b): (&StateTensor, StateTensor)| {
            let (a, b) = (a.elements::<f32>().unwrap(), b.elements::<f32>().unwrap());
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>()
        };
        pairs.map(far).sum::<f32>().sqrt()
    };
    let anchored =
        |l2| moved(ContinualSpec { anchor: Some(AnchorSpec::L2(l2)), ..Default::default() });
    let (free, some, much) = (moved(ContinualSpec::default()), anchored(0.1), anchored(1e6));
    assert!(free > 2.0 * some && some > 0.1 && much < 1e-3, "{free} {some} {much}");
}

#[test]
fn a_unit_that_is_of_no_use_is_drawn_anew() {
    let spec = ContinualBackpropSpec { replacement_rate: 1e-3, maturity: 100, decay: 0.99 };
    let plasticity = Some(PlasticitySpec::ContinualBackprop(spec));
    let mut learner = learner(&ContinualSpec { plasticity, ..Default::default() });
    // A dead unit: its bias keeps it off whatever comes.
    let place = |learner: &Learner, name: &str| learner.engine().find_tensor(name).unwrap();
    let bias = place(&learner, "layers.0.dense.bias");
    learner.engine_mut().tensor_mut(bias)[7] = -100.0;
    for i in 0..200 {
        let (x, class) = event(i);
        learner.learn(&x, Truth::Class(class)).unwrap();
    }
    // After 100 steps, 20 mature units give 0.02 replacements a step.
    assert!(learner.engine().tensor(bias)[7] > -1.0, "still {}", learner.engine().tensor(bias)[7]);
    assert!(learner.figures()["accuracy"] > 0.5);
}
