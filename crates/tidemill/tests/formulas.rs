//! Each driver computes exactly its formula (docs/batch-or-online.md), by hand in f64:
//!
//! ```text
//! batch gradient descent      w <- w - eta * mean over all samples of grad l(w; x, y), once an epoch
//! stochastic                  w <- w - eta * grad l(w; x, y), sample by sample
//! mini-batch                  w <- w - eta * mean over b samples of grad l(w; x, y), b after b
//! ```
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_engine::{Existing, RunFolder};
use tidemill_online::driver::Until;
use tidemill_online::{LearnOptions, learn};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::engine_spec;
use tidemill_train::{RunOptions, train};

const SAMPLES: usize = 48;
const RATE: f64 = 0.3;

/// `y = sigmoid(tanh(x V + c) w + b)`, or without the hidden layer; loss `-ln p(truth)`.
#[derive(Clone, Debug)]
struct ByHand {
    hidden: Option<(Vec<Vec<f64>>, Vec<f64>)>,
    w: Vec<f64>,
    b: f64,
}

impl ByHand {
    /// `tensors`: kernels `[in, out]` and biases in the order of the layers.
    fn of(tensors: &[Vec<f32>]) -> ByHand {
        let wide = |t: &Vec<f32>| t.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        match tensors {
            [w, b] => ByHand { hidden: None, w: wide(w), b: f64::from(b[0]) },
            [v, c, w, b] => {
                let rows = wide(v).chunks(c.len()).map(<[f64]>::to_vec).collect();
                ByHand { hidden: Some((rows, wide(c))), w: wide(w), b: f64::from(b[0]) }
            }
            _ => panic!("{} tensors", tensors.len()),
        }
    }

    fn flat(&self) -> Vec<f64> {
        let hidden = self.hidden.iter().flat_map(|(v, c)| v.concat().into_iter().chain(c.clone()));
        hidden.chain(self.w.clone()).chain([self.b]).collect()
    }

    /// The gradient of one sample's loss, laid out like the model.
    fn gradient(&self, x: &[f64], y: f64) -> ByHand {
        let h = match &self.hidden {
            None => x.to_vec(),
            Some((v, c)) => (0..c.len())
                .map(|j| (c[j] + x.iter().zip(v).map(|(x, v)| x * v[j]).sum::<f64>()).tanh())
                .collect(),
        };
        let z = self.b + h.iter().zip(&self.w).map(|(h, w)| h * w).sum::<f64>();
        let dz = 1.0 / (1.0 + (-z).exp()) - y;
        let hidden = self.hidden.as_ref().map(|_| {
            // d tanh = 1 - tanh^2
            let back: Vec<f64> =
                h.iter().zip(&self.w).map(|(h, w)| dz * w * (1.0 - h * h)).collect();
            (x.iter().map(|x| back.iter().map(|g| x * g).collect()).collect(), back)
        });
        ByHand { hidden, w: h.iter().map(|h| dz * h).collect(), b: dz }
    }

    /// `w <- w - rate * mean of gradients`
    fn step(&mut self, samples: &[([f64; 3], f64)]) {
        let n = samples.len() as f64;
        let gradients: Vec<ByHand> = samples.iter().map(|(x, y)| self.gradient(x, *y)).collect();
        for g in gradients {
            let move_by = |w: &mut f64, g: f64| *w -= RATE * g / n;
            if let (Some((v, c)), Some((dv, dc))) = (&mut self.hidden, &g.hidden) {
                let v = v.iter_mut().flatten().zip(dv.iter().flatten());
                v.for_each(|(w, g)| move_by(w, *g));
                c.iter_mut().zip(dc).for_each(|(w, g)| move_by(w, *g));
            }
            self.w.iter_mut().zip(&g.w).for_each(|(w, g)| move_by(w, *g));
            move_by(&mut self.b, g.b);
        }
    }
}

fn samples() -> Vec<([f64; 3], f64)> {
    let value = |i: usize, j: usize| ((i * 37 + j * 101 + i * i * 7) % 64) as f64 / 32.0 - 1.0;
    let sample = |i| {
        let x = [value(i, 0), value(i, 1), value(i, 2)];
        (x, f64::from(u8::from(x[0] - x[1] * x[2] > 0.1)))
    };
    (0..SAMPLES).map(sample).collect()
}

fn recipe(folder: &Path, layers: &str, more: &str) -> RecipeFile {
    let mut rows = "a,b,c,class\n".to_string();
    for ([a, b, c], y) in samples() {
        rows += &format!("{a},{b},{c},{y}\n");
    }
    let data = folder.join("rows.csv");
    std::fs::write(&data, rows).unwrap();
    let text = format!(
        r#"[model]
input  = {{ features = 3 }}
layers = [{layers}{{ dense = {{ units = 1 }} }}]
[training]
loss      = "binary_crossentropy"
optimizer = {{ sgd = {{ learning_rate = {RATE} }} }}
seed      = 5
[batch]
data    = {{ csv = {{ path = {data:?}, label = "class", standardize = false }} }}
shuffle = false
{more}
"#
    );
    RecipeFile::parse(&text, &folder.join("recipe.toml"), &[]).unwrap()
}

const LOGISTIC: &str = "";
const MLP: &str = r#"{ dense = { units = 4, activation = "tanh" } }, "#;

fn parameters(tensors: &[tidemill_engine::engine::StateTensor]) -> Vec<Vec<f32>> {
    // A stream's checkpoint also has the state to roll back to, under marked names.
    let own =
        |t: &&tidemill_engine::engine::StateTensor| t.parameter && t.name.starts_with("layers");
    let mut named: Vec<_> = tensors.iter().filter(own).collect();
    // Layers in order; `kernel` before `bias`.
    named.sort_by_key(|t| (t.name.split('.').nth(1).map(str::to_owned), t.name.ends_with("bias")));
    named.into_iter().map(|t| t.elements().unwrap().to_vec()).collect()
}

fn first_weights(file: &RecipeFile) -> ByHand {
    let engine = tidemill_engine::engine::Engine::compile(engine_spec(file, Some(1))).unwrap();
    ByHand::of(&parameters(engine.state().tensors()))
}

fn last_weights(run: &Path) -> Vec<Vec<f32>> {
    let last = RunFolder::open(run).unwrap().checkpoints(1).latest().unwrap().unwrap();
    parameters(&last.tensors)
}

fn by_batches(file: &RecipeFile, out: PathBuf) -> Vec<Vec<f32>> {
    let options = RunOptions {
        from: None,
        out: out.clone(),
        existing: Existing::Refuse,
        threads: Some(1),
        memory: None,
        workers: tidemill_train::WorkerGroup::One,
        pause_after: None,
        interrupt: Arc::default(),
    };
    train(file.clone(), &options, &mut |_| {}).unwrap();
    last_weights(&out)
}

fn on_line(file: &RecipeFile, folder: &Path, out: PathBuf) -> Vec<Vec<f32>> {
    let options = LearnOptions {
        from: folder.join("rows.csv").display().to_string(),
        out: out.clone(),
        existing: Existing::Refuse,
        model: None,
        checkpoint: None,
        frozen: false,
        beside: None,
        from_start: false,
        threads: Some(1),
        memory: None,
        until: Until::default(),
        rate: None,
        predictions: None,
        access: Default::default(),
        skip: Vec::new(),
        interrupt: Arc::default(),
    };
    learn(file.clone(), &options, &mut |_| {}).unwrap();
    last_weights(&out)
}

fn near(found: &[Vec<f32>], want: &ByHand) {
    let found = ByHand::of(found).flat();
    for (found, want) in found.iter().zip(want.flat()) {
        assert!((found - want).abs() < 1e-6, "{found} {want}");
    }
}

/// Batches of `size` over `epochs`, by the batch driver and by hand.
fn batches(layers: &str, size: usize, epochs: usize) {
    let folder = tempfile::tempdir().unwrap();
    let more = format!("batch_size = {size}\nepochs = {epochs}");
    let file = recipe(folder.path(), layers, &more);
    let mut hand = first_weights(&file);
    for _ in 0..epochs {
        samples().chunks(size).for_each(|batch| hand.step(batch));
    }
    near(&by_batches(&file, folder.path().join("run")), &hand);
}

#[test]
fn batch_gradient_descent() {
    batches(LOGISTIC, SAMPLES, 5);
    batches(MLP, SAMPLES, 5);
}

#[test]
fn mini_batch_gradient_descent() {
    batches(LOGISTIC, 8, 2);
    batches(MLP, 8, 2);
    // The last batch is smaller, and its mean is over what is in it.
    batches(MLP, 10, 2);
}

#[test]
fn stochastic_gradient_descent() {
    batches(LOGISTIC, 1, 1);
    batches(MLP, 1, 1);
}

/// Steps of `size` events by the online driver and by hand; and the same bits by the batch driver.
fn online(layers: &str, size: usize) {
    let folder = tempfile::tempdir().unwrap();
    let more = format!(
        "batch_size = {size}\n[online]\nbatch_size = {size}\nfeatures = {{ standardize = \"none\" }}\n\
         [stream]\nlabel = \"class\""
    );
    let file = recipe(folder.path(), layers, &more);
    let mut hand = first_weights(&file);
    samples().chunks(size).for_each(|step| hand.step(step));
    let found = on_line(&file, folder.path(), folder.path().join("online"));
    near(&found, &hand);
    let batch = by_batches(&file, folder.path().join("batch"));
    let bits = |t: &[Vec<f32>]| t.concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found), bits(&batch), "the two drivers run one step");
}

#[test]
fn the_online_driver_computes_the_same_steps() {
    for layers in [LOGISTIC, MLP] {
        online(layers, 1);
        online(layers, 8);
        online(layers, 10);
    }
}
