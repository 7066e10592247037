#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tidemill_engine::data::memory::{Features, Labels};
use tidemill_engine::data::{Dataset, MemoryDataset};

use std::path::Path;

use tidemill_engine::metrics::Figures;

use super::*;
use crate::watch::best;
use tidemill_engine::evaluate::Mistake;
use tidemill_engine::metrics::Confusion;

const RECIPE: &str = r#"
[model]
input = { image = { height = 8, width = 8, channels = 1 } }
layers = [{ flatten = {} }, { dense = { units = 3 } }]
[training]
loss = "sparse_categorical_crossentropy" # <script>
optimizer = "adam"
[batch]
data = { image_directory = { path = "a" } }
"#;

fn history(epochs: u64) -> Vec<EpochFigures> {
    let figures = |loss: f64, accuracy: f64| {
        Figures::from([("loss".to_string(), loss), ("accuracy".to_string(), accuracy)])
    };
    let one = |e: u64| EpochFigures {
        epoch: e,
        step: e * 10,
        online_steps: 0,
        samples: e * 320,
        learning_rate: 0.1,
        wall_seconds: e as f64,
        train: figures(1.0 / e as f64, 1.0 - 0.3 / e as f64),
        validation: figures(1.1 / e as f64, 1.0 - 0.35 / e as f64),
    };
    (1..=epochs).map(one).collect()
}

fn page(epochs: u64) -> String {
    let file = RecipeFile::parse(RECIPE, Path::new("/x/my <recipe>.toml"), &[]).unwrap();
    let pixels: Vec<u8> = (0..64 * 4).map(|i| (i * 7) as u8).collect();
    let labels = Labels::Classes(vec![0, 1, 2, 0]);
    let data: Arc<dyn Dataset> =
        Arc::new(MemoryDataset::new(Features::U8(pixels.into()), &[8, 8, 1], labels).unwrap());
    let class_names = vec!["cat".to_string(), "dog & co".into(), "eel".into()];
    let data = RunData { train: data.clone(), validation: Some(data), class_names, buckets: None };
    let mut confusion = Confusion::new(3);
    for (t, p) in [(0, 0), (1, 1), (2, 1), (0, 2)] {
        confusion.add(t, p);
    }
    let evaluation = Evaluation {
        figures: history(1)[0].validation.clone(),
        confusion: Some(confusion),
        mistakes: vec![
            Mistake { index: 2, truth: 2, predicted: 1, probability: 0.9, loss: 3.0 },
            Mistake { index: 0, truth: 0, predicted: 2, probability: 0.6, loss: 1.0 },
        ],
        ..Evaluation::default()
    };
    let history = history(epochs);
    let summary = Summary {
        steps: 10,
        samples: 320,
        epochs,
        wall_seconds: 1.5,
        samples_per_second: 12_345.6,
        peak_rss_bytes: 34_000_000,
        arena_bytes: 1_000_000,
        train: Figures::new(),
        validation: history.last().map(|e| e.validation.clone()).unwrap_or_default(),
        rollbacks: 1,
        steps_lost: 20,
        stopped_by: "epochs".into(),
        state_sha256: "abc".into(),
    };
    let report = Report {
        file: &file,
        run: Path::new("runs/<a>"),
        summary: &summary,
        history: &history,
        best: file.recipe.best_metric().and_then(|metric| best(&history, &metric)),
        evaluation: Some(&evaluation),
        data: Some(&data),
        class_names: &data.class_names,
        plan: "kernel <1>\nkernel 2",
        threads: 2,
        num_parameters: 195,
    };
    report.page()
}

#[test]
fn the_page_needs_nothing_else() {
    let page = page(5);
    assert!(!page.contains("<script") && !page.contains("http"), "no script, no link");
    assert!(page.contains("dog &amp; co") && page.contains("my &lt;recipe&gt;"));
    assert_eq!(page.matches("data:image/png;base64,").count(), 2);
    assert!(page.contains("my &lt;recipe&gt; in runs/&lt;a&gt; - tidemill</title>"), "{page}");
    assert!(page.contains("a: 4 samples"), "{page}");
    assert!(page.contains("12,345") && page.contains("93.00"));
    assert!(page.contains(">sample 2</span>") && page.contains("90&nbsp;%"), "{page}");
    for tag in ["section", "figure", "table", "svg", "div", "span", "details", "dl"] {
        let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
        assert_eq!(page.matches(&open).count(), page.matches(&close).count(), "{tag}");
    }
}

#[test]
fn of_many_classes_the_worst_come_first() {
    let mut confusion = Confusion::new(100);
    for class in 0..90 {
        for sample in 0..90 {
            confusion.add(class, if sample < class { class } else { 99 });
        }
    }
    let mut page = String::new();
    let evaluation = Evaluation { confusion: Some(confusion), ..Evaluation::default() };
    classes::write(&mut page, &evaluation, &[]);
    assert!(!page.contains("class=\"matrix\""), "too many for a matrix");
    let rows: Vec<&str> = page.split("<tr><th>").skip(1).collect();
    // A header, 60 classes and the mean; classes that were not seen are left out.
    let names: Vec<&str> = rows.iter().filter_map(|row| row.split('<').next()).collect();
    assert_eq!((names.len(), names[1], names[2], names[61]), (62, "0", "99", "mean"));
    assert!(page.contains("the 60 lowest F1; tidemill eval lists 31 more"), "{page}");
}

#[test]
fn no_epoch_and_many_epochs() {
    assert!(!page(0).contains("<svg"));
    assert!(page(1).contains("<circle"));
    let many = page(5000);
    assert!(many.len() < 100_000 && !many.contains("<circle"));
    assert!(!many.contains("NaN") && !many.contains("inf"));
}
