//! A run's model in other programs, and weights that come from there.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::*;

const BLOCKS: &str = r#"{ conv2d = { filters = 6, kernel = 3, padding = [1, 1], bias = false } },
    { batch_norm = { epsilon = 1e-5, momentum = 0.5 } },
    { activation = "relu" },
    { residual = { layers = [
        { conv2d = { filters = 6, kernel = 3, stride = 1, padding = [1, 1] } },
        { batch_norm = { epsilon = 1e-5, momentum = 0.5 } }], activation = "relu" } },
    { max_pool2d = {} },
    { global_avg_pool = {} },"#;

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with images as IDX files: the brightest of four quarters is the class.
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let classes: Vec<u8> = (0..90u32).map(|i| (i * 7 % 4) as u8).collect();
        let pixel = |i: usize, class: u8, p: usize| {
            let quarter = p / 8 / 4 * 2 + p % 8 / 4;
            let noise = (i * 37 + p * 11) % 97;
            if quarter == class as usize { 120 + noise as u8 } else { noise as u8 }
        };
        let pixels: Vec<u8> = classes
            .iter()
            .enumerate()
            .flat_map(|(i, &class)| (0..64).map(move |p| pixel(i, class, p)))
            .collect();
        place.idx("images", &[90, 8, 8], &pixels);
        place.idx("labels", &[90], &classes);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn idx(&self, name: &str, dims: &[u32], values: &[u8]) {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend(values);
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Writes a recipe of the blocks with so many outputs.
    fn recipe(&self, name: &str, units: usize, model: &str, training: &str) {
        let text = format!(
            r#"[model]
input  = {{ image = {{ height = 8, width = 8, channels = 1 }} }}
{model}
layers = [{BLOCKS} {{ dense = {{ units = {units} }} }}]
[training]
loss = "sparse_categorical_crossentropy"
seed = 4
{training}
[batch]
data = {{ idx = {{ images = "images", labels = "labels", normalize = {{ mean = [0.3], std = [0.5] }} }} }}
epochs = 2
"#
        );
        std::fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(arguments).current_dir(self.0.path()).output().unwrap()
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output))
    }

    /// The probabilities of all classes, by `predict`.
    fn predicted(&self, run: &str) {
        let lines = self.run(&["predict", run, "--data", "images", "--all", "--json"]);
        assert!(lines.status.success(), "{}", stderr(&lines));
        std::fs::write(self.path("predicted.jsonl"), lines.stdout).unwrap();
    }

    /// Runs a Python script here; false, and that is said, where a module is not there.
    fn python(&self, script: &str) -> bool {
        let python = std::env::var_os("TIDEMILL_PYTHON").unwrap_or_else(|| "python3".into());
        let all = format!(
            "import sys, json\ntry:\n    import numpy as np\n{}\nexcept ImportError as e:\n    print(e)\n    sys.exit(77)\n\
             pixels = np.fromfile('images', dtype=np.uint8)[16:][:5760].reshape(90, 8, 8, 1)\n\
             expected = np.array([list(json.loads(l)['outputs'].values()) for l in open('predicted.jsonl')])\n{}",
            script.split_once("\n\n").unwrap().0,
            script.split_once("\n\n").unwrap().1,
        );
        let output = Command::new(python).args(["-c", &all]).current_dir(self.0.path()).output();
        match output {
            Err(e) => eprintln!("SKIPPED: Python cannot be run: {e}"),
            Ok(output) if output.status.code() == Some(77) => {
                eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stdout));
            }
            Ok(output) => {
                assert!(output.status.success(), "{}", stderr(&output));
                return true;
            }
        }
        false
    }
}

fn tensors(path: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let each = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    each.map(|(name, about)| {
        let at = |i: usize| about["data_offsets"][i].as_u64().unwrap() as usize + 8 + len;
        (name.clone(), bytes[at(0)..at(1)].to_vec())
    })
    .collect()
}

#[test]
fn onnx_gives_the_predictions_of_images_as_they_are() {
    let place = Place::new();
    place.recipe("r.toml", 4, "", "");
    place.says(&["train", "r.toml", "--out", "run"]);
    place.predicted("run");
    let says = place.says(&["export", "run", "--onnx", "m.onnx"]);
    assert!(says.contains("uint8") && says.contains("m.onnx"), "{says}");
    place.says(&["export", "run", "--onnx", "f.onnx", "--float-input", "--logits"]);
    place.python(
        "    import onnx, onnxruntime\n\n\
         model = onnx.load('m.onnx')\n\
         onnx.checker.check_model(model, full_check=True)\n\
         about = {p.key: p.value for p in model.metadata_props}\n\
         assert json.loads(about['tidemill.classes']) == ['0', '1', '2', '3'], about\n\
         session = onnxruntime.InferenceSession('m.onnx')\n\
         (found,) = session.run(['probabilities'], {'x': pixels})\n\
         assert np.abs(found - expected).max() < 1e-5, np.abs(found - expected).max()\n\
         (one,) = session.run(None, {'x': pixels[:1]})\n\
         assert np.abs(one - expected[:1]).max() < 1e-5\n\
         session = onnxruntime.InferenceSession('f.onnx')\n\
         x = (pixels.astype(np.float32) / 255 - 0.3) / 0.5\n\
         (logits,) = session.run(['logits'], {'x': x})\n\
         e = np.exp(logits - logits.max(1, keepdims=True))\n\
         assert np.abs(e / e.sum(1, keepdims=True) - expected).max() < 1e-5\n",
    );
    let refused = place.run(&["export", "run"]);
    assert_eq!(refused.status.code(), Some(2), "nothing to write");
    let refused = place.run(&["export", "nowhere", "--onnx", "m.onnx"]);
    assert!(stderr(&refused).contains("nowhere"), "{}", stderr(&refused));
}

#[test]
fn a_file_of_another_kind_is_not_replaced() {
    let place = Place::new();
    place.recipe("r.toml", 4, "", "");
    place.says(&["train", "r.toml", "--out", "run"]);
    for (option, kind) in [("--onnx", "ONNX"), ("--safetensors", "safetensors")] {
        let table = place.path("table.csv");
        std::fs::write(&table, "a,b,class\n1,2,x\n").unwrap();
        let refused = place.run(&["export", "run", option, "table.csv"]);
        let says = stderr(&refused);
        assert!(says.contains("table.csv") && says.contains(&format!("no {kind} file")), "{says}");
        assert_eq!(std::fs::read_to_string(&table).unwrap(), "a,b,class\n1,2,x\n");
        // One of its kind is, whatever it is called, and one without content.
        std::fs::write(&table, "").unwrap();
        for _ in 0..2 {
            place.says(&["export", "run", option, "table.csv"]);
        }
    }
}

#[test]
fn torch_loads_the_weights_and_they_come_back() {
    let place = Place::new();
    place.recipe("r.toml", 4, "", "");
    place.says(&["train", "r.toml", "--out", "run"]);
    place.predicted("run");
    let says = place.says(&["export", "run", "--safetensors", "t.safetensors", "--names", "torch"]);
    assert!(says.contains("wrote 15 tensors"), "{says}");
    let names: Vec<String> = tensors(&place.path("t.safetensors")).into_keys().collect();
    assert!(names.contains(&"layers.3.layers.1.running_var".to_owned()), "{names:?}");
    place.python(
        "    import torch\n    from torch import nn\n    from safetensors.torch import load_file\n\n\
         class Residual(nn.Module):\n\
         \x20   def __init__(self, *layers):\n\
         \x20       super().__init__()\n\
         \x20       self.layers = nn.Sequential(*layers)\n\
         \x20   def forward(self, x):\n\
         \x20       return torch.relu(self.layers(x) + x)\n\
         class Model(nn.Module):\n\
         \x20   def __init__(self):\n\
         \x20       super().__init__()\n\
         \x20       conv = lambda i, bias: nn.Conv2d(i, 6, 3, padding=1, bias=bias)\n\
         \x20       self.layers = nn.Sequential(conv(1, False), nn.BatchNorm2d(6), nn.ReLU(),\n\
         \x20           Residual(conv(6, True), nn.BatchNorm2d(6)), nn.MaxPool2d(2),\n\
         \x20           nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(6, 4))\n\
         \x20   def forward(self, x):\n\
         \x20       return self.layers(x).softmax(1)\n\
         model = Model()\n\
         model.load_state_dict(load_file('t.safetensors'))\n\
         model.eval()\n\
         x = torch.tensor((pixels.astype(np.float32) / 255 - 0.3) / 0.5).permute(0, 3, 1, 2)\n\
         found = model(x).detach().numpy()\n\
         assert np.abs(found - expected).max() < 1e-5, np.abs(found - expected).max()\n",
    );
    // All of them are the initial weights of another run, which then has nothing to learn from a rate of nearly 0.
    place.says(&["export", "run", "--safetensors", "own.safetensors"]);
    let from = "from = { safetensors = \"t.safetensors\", names = \"torch\" }";
    let frozen = "frozen = [\"layers.0\", \"layers.1\", \"layers.3\"]";
    place.recipe(
        "again.toml",
        4,
        &format!("{from}\n{frozen}"),
        "optimizer = { sgd = { learning_rate = 1e-30 } }",
    );
    let says = place.says(&["train", "again.toml", "--out", "again"]);
    assert!(says.contains("13 tensors are taken, 0 keep their random start"), "{says}");
    place.says(&["export", "again", "--safetensors", "back.safetensors"]);
    let [own, back] = ["own.safetensors", "back.safetensors"].map(|n| tensors(&place.path(n)));
    assert_eq!(own, back);
}

#[test]
fn weights_of_another_run_are_taken_where_they_fit() {
    let place = Place::new();
    place.recipe("a.toml", 4, "", "");
    place.says(&["train", "a.toml", "--out", "a"]);
    place.recipe("b.toml", 7, "from = { run = \"a\" }\nfrozen = [\"layers.*.conv2d\"]", "");
    let says = place.says(&["train", "b.toml", "--out", "b"]);
    assert!(
        says.contains("initial weights from a: 9 tensors are taken, 2 keep their random start"),
        "{says}"
    );
    assert!(
        says.contains(
            "layers.6.dense.kernel: layers.6.dense.kernel is [6, 4], and [6, 7] is wanted"
        ),
        "{says}"
    );
    for name in ["a", "b"] {
        place.says(&["export", name, "--safetensors", &format!("{name}.safetensors")]);
    }
    let [a, b] = ["a.safetensors", "b.safetensors"].map(|n| tensors(&place.path(n)));
    let kernel = "layers.0.conv2d.kernel";
    assert_eq!(a[kernel], b[kernel]);
    assert_ne!(a["layers.1.batch_norm.gamma"], b["layers.1.batch_norm.gamma"]);

    // All workers start from them.
    let sums = ["1", "3"].map(|workers| {
        place.says(&[
            "train",
            "b.toml",
            "--out",
            workers,
            "--set",
            "training.shards=3",
            "--workers",
            workers,
        ]);
        summary(&place.path(workers)).state_sha256
    });
    assert_eq!(sums[0], sums[1]);
    let stream = "[model]\ninput = { features = 2 }\nlayers = [{ dense = { units = 2 } }]\nfrom = { run = 'a' }\n\
                  [training]\nloss = 'sparse_categorical_crossentropy'\n[stream]\nlabel = 'class'\n";
    std::fs::write(place.path("s.toml"), stream).unwrap();
    std::fs::write(place.path("s.csv"), "a,b,class\n1,2,x\n2,1,y\n").unwrap();
    let says = place.says(&["learn", "s.toml", "--from", "s.csv", "--out", "stream"]);
    assert!(says.contains("model.from has no effect on a stream"), "{says}");

    // A resume continues from its own weights, whether the other run is still there or not.
    place.says(&["train", "b.toml", "--out", "cut", "--set", "stop.steps=3"]);
    std::fs::rename(place.path("a"), place.path("elsewhere")).unwrap();
    let says = place.says(&["train", "cut", "--resume", "--set", "stop.steps=1000"]);
    assert!(!says.contains("initial weights") && !says.contains("recipe has changed"), "{says}");
    place.says(&["export", "cut", "--safetensors", "cut.safetensors"]);
    assert_eq!(tensors(&place.path("cut.safetensors")), b);
}

#[test]
fn weights_that_fit_nothing_are_refused() {
    let place = Place::new();
    place.recipe("a.toml", 4, "", "");
    place.says(&["train", "a.toml", "--out", "a"]);
    place.says(&["export", "a", "--safetensors", "t.safetensors", "--names", "torch"]);
    let refused = |model: &str| {
        place.recipe("b.toml", 4, model, "");
        let output = place.run(&["train", "b.toml", "--out", "b", "--force"]);
        assert_eq!(output.status.code(), Some(2), "{model}: {}", stderr(&output));
        stderr(&output)
    };
    let says = refused("from = { safetensors = \"t.safetensors\" }");
    assert!(says.contains("model.from") && says.contains("fits no tensor of the model"), "{says}");
    assert!(says.contains("the source has no layers.0.conv2d.kernel"), "{says}");
    let says = refused("from = { run = \"nowhere\" }");
    assert!(says.contains("model.from.run") && says.contains("nowhere"), "{says}");
    let says = refused("from = { safetensors = \"images\" }");
    assert!(says.contains("is no safetensors file"), "{says}");
    let says = refused("from = {}");
    assert!(says.contains("must have either run or safetensors"), "{says}");
    let says = refused("from = { run = \"a\", rename = { \"layers.0\" = \"stem\" } }");
    assert!(says.contains("\"stem\"") && says.contains("no such tensor"), "{says}");
    // Renamed, all of it fits.
    let rename = "rename = { \"layers.0\" = \"layers.0\", \"layers\" = \"layers\" }";
    place.recipe(
        "b.toml",
        4,
        &format!("from = {{ safetensors = \"t.safetensors\", names = \"torch\", {rename} }}"),
        "",
    );
    let says = place.says(&["train", "b.toml", "--out", "b", "--force"]);
    assert!(says.contains("13 tensors are taken"), "{says}");
}

#[test]
fn rates_of_layers_that_are_not_there_are_refused() {
    let place = Place::new();
    place.recipe("r.toml", 4, "", "optimizer = { adam = { rates = { \"layers.9\" = 0.1 } } }");
    let output = place.run(&["train", "r.toml", "--out", "run"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("layers.9"), "{}", stderr(&output));
    place.recipe("r.toml", 4, "", "optimizer = { adam = { rates = { \"layers.0\" = 0.1 } } }");
    place.says(&["train", "r.toml", "--out", "run"]);
}

/// Weights of torchvision's model give its outputs, under its names.
#[test]
fn weights_of_torchvision_are_taken_by_their_names() {
    let place = Place::new();
    let pixels: Vec<u8> = (0..90 * 32 * 32 * 3usize).map(|i| (i * 7919 % 251) as u8).collect();
    place.idx("images", &[90, 32, 32, 3], &pixels);
    std::fs::write(place.path("predicted.jsonl"), "").unwrap();
    let there = place.python(
        "    import torch\n    from torchvision.models import resnet18\n    from safetensors.torch import save_file\n\n\
         torch.manual_seed(3)\n\
         model = resnet18(num_classes=4)\n\
         for module in model.modules():\n\
         \x20   if isinstance(module, torch.nn.BatchNorm2d):\n\
         \x20       module.running_mean.uniform_(-0.2, 0.2)\n\
         \x20       module.running_var.uniform_(0.5, 1.5)\n\
         save_file(model.state_dict(), 'tv.safetensors')\n\
         model.eval()\n\
         x = np.fromfile('images', dtype=np.uint8)[20:].reshape(90, 32, 32, 3)\n\
         x = torch.tensor(x.astype(np.float32) / 255).permute(0, 3, 1, 2)\n\
         np.save('expected.npy', model(x).softmax(1).detach().numpy())\n",
    );
    if !there {
        return;
    }
    // What is not frozen does not move at such a rate.
    let recipe = r#"[model]
vision = { name = "resnet18", classes = 4 }
input  = { image = { height = 32, width = 32, channels = 3 } }
from   = { safetensors = "tv.safetensors", names = "torchvision" }
frozen = ["layers.*.batch_norm", "layers.*.residual"]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = { sgd = { learning_rate = 1e-30 } }
[batch]
data = { idx = { images = "images", labels = "labels" } }
steps_per_epoch = 1
"#;
    std::fs::write(place.path("r.toml"), recipe).unwrap();
    let says = place.says(&["train", "r.toml", "--out", "run"]);
    assert!(
        says.contains("102 tensors are taken, 0 keep their random start, 0 of the source are left"),
        "{says}"
    );
    place.predicted("run");
    place.python(
        "    import json\n\n\
         wanted = np.load('expected.npy')\n\
         assert np.abs(expected - wanted).max() < 1e-5, np.abs(expected - wanted).max()\n",
    );
    let other = recipe
        .replace(
            "vision = { name = \"resnet18\", classes = 4 }\n",
            "layers = [{ flatten = {} }, { dense = { units = 4 } }]\n",
        )
        .replace("frozen = [\"layers.*.batch_norm\", \"layers.*.residual\"]", "");
    std::fs::write(place.path("r.toml"), other).unwrap();
    let refused = place.run(&["train", "r.toml", "--out", "run", "--force"]);
    assert!(
        stderr(&refused).contains("model.from.names") && stderr(&refused).contains("model.vision"),
        "{}",
        stderr(&refused)
    );
}
