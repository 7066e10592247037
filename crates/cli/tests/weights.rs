//! Weights of classes and of events change what a stream is learned to, at any size of steps.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{stderr, text, tidemill};

const MODEL: &str = r#"
[model]
input  = { features = 2 }
layers = [{ dense = { units = 2 } }]
[training]
loss = "sparse_categorical_crossentropy"
seed = 1
"#;

/// Events of two numbers, a weight that follows from `weight`, and a class.
fn events(weight: impl Fn(usize) -> f64) -> String {
    let mut rows = String::from("a,b,w,class\n");
    for i in 0..200usize {
        let class = if i % 3 == 0 { "cat" } else { "dog" };
        let (a, b) = ((i * 7 % 11) as f64 - 5.0, (i * 5 % 13) as f64 - 6.0);
        writeln!(rows, "{a},{b},{},{class}", weight(i)).unwrap();
    }
    rows
}

/// Learns the events by the model and what else the recipe says; the state's hash, and what was said.
fn learned(folder: &Path, more: &str, events: &str) -> (String, String) {
    let [recipe, data, run] = ["r.toml", "d.csv", "run"].map(|name| folder.join(name));
    std::fs::write(&recipe, format!("{MODEL}{more}")).unwrap();
    std::fs::write(&data, events).unwrap();
    let run = text(&run);
    let out = tidemill(&["learn", text(&recipe), "--from", text(&data), "--out", run, "--force"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let summary = std::fs::read_to_string(Path::new(run).join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    (summary["state_sha256"].as_str().unwrap().to_owned(), stderr(&out))
}

const IGNORED: &str = "[stream]\nlabel = \"class\"\nignore = [\"w\"]\n";
const WEIGHED: &str = "[stream]\nlabel = \"class\"\nweight = \"w\"\n";

#[test]
fn classes_weigh_on_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let events = events(|_| 1.0);
    for size in ["", "[online]\nbatch_size = 4\n"] {
        let of =
            |weights: &str| learned(folder.path(), &format!("{weights}{size}{IGNORED}"), &events);
        let (plain, said) = of("");
        assert!(!said.contains("class_weight"), "{said}");
        let (doubled, _) = of("class_weight = { cat = 2.0 }\n");
        assert_ne!(plain, doubled, "{size}");
        let (one, said) = of("class_weight = { cat = 1.0, bird = 3.0 }\n");
        assert_eq!(plain, one);
        assert!(said.contains("class_weight has a weight for bird"), "{said}");
    }
    let (_, said) =
        learned(folder.path(), &format!("class_weight = \"balanced\"\n{IGNORED}"), &events);
    assert!(said.contains("\"balanced\" counts stored data"), "{said}");
}

#[test]
fn a_class_weight_is_the_weight_of_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let cats = events(|i| if i % 3 == 0 { 2.5 } else { 1.0 });
    let classes = format!("class_weight = {{ cat = 2.5 }}\n{IGNORED}");
    let (by_class, _) = learned(folder.path(), &classes, &cats);
    let (by_event, _) = learned(folder.path(), WEIGHED, &cats);
    assert_eq!(by_class, by_event);
    let (light, _) = learned(folder.path(), WEIGHED, &events(|_| 1.0));
    let (heavy, _) = learned(folder.path(), WEIGHED, &events(|_| 100.0));
    assert_ne!(light, heavy);
}

/// The same in batches, at a batch of one too, and for a label of one output.
#[test]
fn classes_weigh_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let [recipe, data, run] = ["r.toml", "d.csv", "run"].map(|name| folder.path().join(name));
    std::fs::write(&data, events(|_| 1.0)).unwrap();
    let trained = |model: &str, weights: &str, size: usize| {
        let batch = format!(
            "[batch]\ndata = {{ csv = {{ path = \"d.csv\" }} }}\nbatch_size = {size}\nepochs = 1\n"
        );
        let sgd = "optimizer = { sgd = { learning_rate = 0.01 } }\n";
        std::fs::write(&recipe, format!("{model}{sgd}{weights}{batch}{IGNORED}")).unwrap();
        let out = tidemill(&["train", text(&recipe), "--out", text(&run), "--force"]);
        assert!(out.status.success(), "{}", stderr(&out));
        let summary = std::fs::read_to_string(run.join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        summary["state_sha256"].as_str().unwrap().to_owned()
    };
    let binary = MODEL.replace("units = 2", "units = 1").replace("sparse_categorical", "binary");
    for (model, size) in [(MODEL, 1), (MODEL, 32), (&*binary, 1), (&*binary, 32)] {
        let plain = trained(model, "", size);
        for weights in ["class_weight = { cat = 100.0 }\n", "class_weight = \"balanced\"\n"] {
            assert_ne!(trained(model, weights, size), plain, "{weights} {size}");
        }
    }
}
