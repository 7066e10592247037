//! Live sources: whatever a sender writes, learning from the others goes on.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_engine::checkpoint::Meta;
use tidemill_engine::engine::StateTensor;
use tidemill_engine::folder::{Existing, RunFolder};
use tidemill_online::driver::Until;
use tidemill_online::{LearnOptions, LearnOutcome, learn};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::stream::{Log, LogOptions};

const NET: &str = "[model]\ninput = { features = 2 }\nlayers = [{ dense = { units = 2 } }]\n[training]\n\
     loss = \"sparse_categorical_crossentropy\"\noptimizer = { sgd = { learning_rate = 0.1 } }\nseed = 1\n[report]\nhtml = false\n";

/// A run that learns from what is in a log, as a server keeps it.
struct Live {
    folder: tempfile::TempDir,
    recipe: String,
}

impl Live {
    fn new(recipe: &str) -> Live {
        Live { folder: tempfile::tempdir().unwrap(), recipe: format!("{NET}{recipe}") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn send<T: AsRef<[u8]>>(&self, records: &[T]) {
        let log = Log::open(self.path("log"), LogOptions::default()).unwrap();
        log.append(records.iter().map(AsRef::as_ref)).unwrap();
    }

    fn options(&self) -> LearnOptions {
        LearnOptions {
            from: format!("log:{}", self.path("log").display()),
            out: self.path("run"),
            existing: Existing::Resume,
            model: None,
            frozen: false,
            beside: None,
            from_start: false,
            threads: Some(1),
            memory: None,
            until: Until::default(),
            rate: None,
            access: Default::default(),
            checkpoint: None,
            predictions: None,
            skip: Vec::new(),
            interrupt: Arc::default(),
        }
    }

    /// Learns from all that was sent since the last time; with what was noticed.
    fn learn(&self) -> (LearnOutcome, String) {
        let path = self.path("recipe.toml");
        let file = RecipeFile::parse(&self.recipe, &path, &[]).unwrap();
        let options = self.options();
        let mut notices = String::new();
        let outcome = learn(file, &options, &mut |event| {
            if let tidemill_online::LearnEvent::Notice(what) = event {
                notices += what;
                notices.push('\n');
            }
        });
        (outcome.unwrap(), notices)
    }

    /// Learns; how many events there were in all, and how many records were set aside.
    fn counts(&self) -> (u64, u64) {
        let (outcome, _) = self.learn();
        (outcome.summary.events, outcome.summary.bad_events)
    }

    fn dead(&self) -> String {
        std::fs::read_to_string(self.path("run/dead-letter.jsonl")).unwrap()
    }
}

fn newest(run: &Path) -> (Meta, Vec<StateTensor>) {
    let checkpoint = RunFolder::open(run).unwrap().checkpoints(1).latest().unwrap().unwrap();
    (checkpoint.meta, checkpoint.tensors)
}

#[test]
fn the_first_event_that_fits_says_what_events_are() {
    let live = Live::new("[stream]\nformat = \"json_lines\"\nlabel = \"y\"\n");
    let many: Vec<String> = (0..100_000).map(|i| format!("\"k{i}\":{i}")).collect();
    let bad = [
        "{\"hello\": 1}".to_owned(),
        "{\"x\":[1,2,3],\"y\":1}".to_owned(),
        "{\"a\":\"text\",\"b\":2,\"y\":1}".to_owned(),
        format!("{{\"{}\":1,\"y\":1}}", ".".repeat(100_000)),
        format!("{{\"a.{}\":1,\"b\":2,\"y\":1}}", "k".repeat(5000)),
        format!("{{{},\"y\":1}}", many.join(",")),
        "[1, 2]".to_owned(),
        "{}".to_owned(),
    ];
    let good = vec!["{\"x\":[0.1,0.2],\"y\":1}"; 20];
    live.send(&bad);
    assert_eq!(live.counts(), (0, 8));
    // Nothing of it is left for the next time.
    live.send(&bad);
    live.send(&good);
    assert_eq!(live.counts(), (20, 16));
    live.send(&bad);
    live.send(&good);
    assert_eq!(live.counts(), (40, 24));
    assert!(live.dead().contains("dots are the most"), "{}", live.dead());
}

#[test]
fn headers_that_do_not_fit_are_set_aside() {
    let live = Live::new("[stream]\nformat = \"csv\"\nlabel = \"y\"\n");
    let (rows, wrong) = (["0.1,0.2,1"; 20], ["hello", "q,w", "y,q", "oops", "1,2,3,4,5"]);
    live.send(&wrong);
    // One of them could be the header of rows to come.
    assert_eq!(live.counts(), (0, 4));
    live.send(&["a,b,y"]);
    live.send(&["oops,0.2,1"]);
    live.send(&rows);
    live.send(&wrong);
    live.send(&rows);
    assert_eq!(live.counts(), (40, 10), "{}", live.dead());

    let live = Live::new("[stream]\nformat = \"arff\"\n");
    let good = ["@attribute a numeric", "@attribute b numeric", "@attribute y {0,1}", "@data"];
    let q = ["@relation q", "@attribute q numeric", "@data"];
    let z = ["@attribute z relational"];
    live.send(&q);
    live.send(&z);
    live.send(&["@relation g"]);
    live.send(&good);
    live.send(&rows);
    // At any time, also one without its end, and one that is resumed after.
    live.send(&q);
    live.send(&rows);
    live.send(&z);
    live.send(&rows);
    assert_eq!(live.counts(), (60, 4), "{}", live.dead());
    live.send(&z);
    live.send(&["@attribute long numeric", "@data"]);
    live.send(&rows);
    assert_eq!(live.counts(), (80, 6), "{}", live.dead());
}

/// Labels that say nothing of the classes must not decide what classes are.
#[test]
fn a_label_that_does_not_fit_is_set_aside() {
    let live = Live::new(
        "[stream]\nformat = \"json_lines\"\n[online.labels]\nid = \"id\"\nwindow = 100\nmissing = \"negative\"\n",
    );
    live.send(&["{\"id\":\"a\",\"x\":[0.1,0.2],\"y\":\"clicked\"}"]);
    assert_eq!(live.counts(), (0, 1));
    let long = format!("{{\"id\":\"{}\",\"x\":[0.1,0.2],\"y\":1}}", "i".repeat(300));
    live.send(&["{\"id\":\"b\",\"x\":[0.1,0.2]}", "{\"id\":\"b\",\"y\":\"no\"}", &long]);
    live.send(&["{\"id\":\"b\",\"y\":1}", "{\"id\":\"c\",\"x\":[0.1,0.2],\"y\":0}"]);
    let (outcome, _) = live.learn();
    let labels = outcome.summary.labels.unwrap();
    assert_eq!((outcome.summary.events, labels.joined), (2, 1), "{}", live.dead());
    assert!(live.dead().contains("has 300 bytes, and 256 are the most"), "{}", live.dead());
}

#[test]
fn records_that_are_no_events_are_taken_and_told() {
    let live = Live::new("[stream]\nformat = \"json_lines\"\nlabel = \"y\"\n");
    live.send(&vec!["{\"x\": [0.1, 0.2, ], \"y\": 1}"; 12_000]);
    let (outcome, notices) = live.learn();
    assert_eq!((outcome.summary.events, outcome.summary.bad_events), (0, 12_000));
    assert!(notices.contains("1000 of the last 1000 records were set aside"), "{notices}");
    // What was taken is behind the checkpoint, though nothing was learned.
    let (meta, _) = newest(&live.path("run"));
    let stream = serde_json::to_string(&meta.stream).unwrap();
    assert_eq!(meta.step, 0);
    assert!(stream.contains("12000"), "{stream}");
    live.send(&["{\"x\": [0.1, 0.2], \"y\": 1}"; 1]);
    assert_eq!(live.counts(), (1, 12_000));
}

#[test]
fn a_record_can_be_skipped_by_its_number() {
    let live = Live::new("[stream]\nformat = \"json_lines\"\nlabel = \"y\"\n");
    live.send(&["{\"x\": [0.1, 0.2], \"y\": 1}"; 5]);
    let file = RecipeFile::parse(&live.recipe, &live.path("recipe.toml"), &[]).unwrap();
    let options = LearnOptions {
        existing: Existing::Refuse,
        skip: vec!["1".into(), "4".into()],
        ..live.options()
    };
    let outcome = learn(file, &options, &mut |_| {}).unwrap();
    assert_eq!((outcome.summary.events, outcome.summary.bad_events), (3, 2));
    assert!(live.dead().contains("--skip-record"), "{}", live.dead());
}

/// Ten outliers, and one event in ten: a model that does well on all the others stays.
#[test]
fn outliers_do_not_roll_a_good_model_back() {
    let live = Live::new(
        "[stream]\nformat = \"json_lines\"\nlabel = \"y\"\n[online.features]\nstandardize = \"none\"\n[online.guard]\nkeep_every = 5000\n",
    );
    let good = |i: usize| {
        let (a, b) = ((i * 7 % 100) as f32 / 50.0 - 1.0, (i * 13 % 100) as f32 / 50.0 - 1.0);
        format!("{{\"x\":[{a},{b}],\"y\":{}}}", u8::from(a + b > 0.0))
    };
    let events: Vec<String> = (0..2000).map(good).collect();
    live.send(&events);
    for label in [0, 1] {
        live.send(&vec![format!("{{\"x\":[1e15,-1e15],\"y\":{label}}}"); 10]);
        live.send(&vec![format!("{{\"x\":[-1e15,-1e15],\"y\":{label}}}"); 10]);
    }
    let mixed: Vec<String> = (0..1000)
        .map(|i| match i % 10 {
            3 => "{\"x\":[-1e15,-1e15],\"y\":1}".to_owned(),
            _ => good(i),
        })
        .collect();
    live.send(&mixed);
    let (outcome, _) = live.learn();
    let dead = std::fs::read_to_string(live.path("run/dead-letter.jsonl")).unwrap_or_default();
    assert!(
        outcome.summary.refused >= 30,
        "{:?} {} {dead}",
        outcome.summary.refused,
        outcome.summary.bad_events
    );
    assert_eq!(outcome.summary.rollbacks, 0);
}

/// The row of a user who is gone belongs to another: what the first one did is nowhere.
#[test]
fn a_freed_row_is_nobody_s() {
    let user = |i: usize| match i {
        0..2200 => format!("u{}", i % 5),
        2200..2400 => format!("u{}", 1 + i % 4),
        _ => "u9".to_owned(),
    };
    let anchor = "anchor = { l2 = 0.1 }\n";
    let replay = "replay = { capacity = 500, per_step = 8 }\n";
    for (more, labels) in
        [("", ""), (replay, ""), (anchor, ""), (replay, "[online.labels]\nwindow = 10\n")]
    {
        let recipe = format!(
            "{}[stream]\nformat = \"json_lines\"\nlabel = \"y\"\nid = \"id\"\n[online]\n{more}\
             features = {{ categorical = {{ u = {{ embedding = {{ capacity = 5, expiry = 100 }} }} }} }}\n{labels}",
            NET.replace(
                "{ dense = { units = 2 } }",
                "{ entity_embedding = { vocabulary = [6], units = 4 } }, { dense = { units = 2 } }"
            )
        );
        let live = Live { folder: tempfile::tempdir().unwrap(), recipe };
        let event = |i: usize| {
            let a = (i * 7 % 100) as f32 / 50.0 - 1.0;
            // The new user's events have no label: nothing can be learned of it but by others' events.
            let label = if i < 2400 {
                format!(",\"y\":{}", u8::from(i.is_multiple_of(5)))
            } else {
                String::new()
            };
            format!("{{\"id\":\"e{i}\",\"u\":\"{}\",\"a\":{a}{label}}}", user(i))
        };
        live.send(&(0..2420).map(event).collect::<Vec<_>>());
        let (outcome, _) = live.learn();
        assert_eq!(outcome.summary.events, 2420, "{}", live.path("run").display());
        // Labelled events of others, so that steps are taken while the new user has the row.
        let rest: Vec<String> = (2420..2480)
            .map(|i| {
                let u = if i % 2 == 0 { "u9".into() } else { format!("u{}", 1 + i % 4) };
                let label = if i % 2 == 0 { "" } else { ",\"y\":1" };
                format!("{{\"id\":\"e{i}\",\"u\":\"{u}\",\"a\":0.5{label}}}")
            })
            .collect();
        live.send(&rest);
        live.learn();
        let (_, tensors) = newest(&live.path("run"));
        for prefix in ["", "good/"] {
            let name = format!("{prefix}layers.0.entity_embedding.table0");
            let table = tensors.iter().find(|t| t.name == name).unwrap();
            let rows: Vec<&[f32]> = table.elements::<f32>().unwrap().chunks(4).collect();
            // Row 1 was u0's; row 0 is that of ids without one.
            assert_eq!(rows[1], rows[0], "{name} with {more:?} {labels:?}: {rows:?}");
        }
    }
}

/// Where labels may come later and come at once, nothing is learned differently: not by a challenger whose row of a user was
/// freed, and not of columns that move.
#[test]
fn labels_that_come_at_once_change_nothing() {
    let net = NET.replace(
        "layers = [{ dense = { units = 2 } }]",
        "layers = [{ entity_embedding = { vocabulary = [6], units = 4 } }, { dense = { units = 2 } }]",
    );
    // The labels turn, so that a challenger starts; then a user goes, whose row another one gets, and a column moves.
    let event = |i: usize| {
        let user = match i {
            0..2200 => i % 5,
            2200..2600 => 1 + i % 4,
            _ => 9,
        };
        let a = ((i * 7919) % 1000) as f32 / 500.0 - 1.0 + if i < 2300 { 0.0 } else { 10.0 };
        let label = (user % 2 == 1) ^ (i >= 1500);
        format!("{{\"id\":\"e{i}\",\"u\":\"u{user}\",\"a\":{a},\"y\":{}}}", u8::from(label))
    };
    let events: Vec<String> = (0..2700).map(event).collect();
    let runs = ["", "[online.labels]\nwindow = 100\n"].map(|labels| {
        let recipe = format!(
            "{net}[stream]\nformat = \"json_lines\"\nlabel = \"y\"\nid = \"id\"\n[online]\nclasses = [\"0\", \"1\"]\n\
             features = {{ categorical = {{ u = {{ embedding = {{ capacity = 5, expiry = 100 }} }} }} }}\n\
             [online.drift]\nfeatures = true\n\
             action = [{{ challenger = {{ events = 5000, alpha = 1e-12, rate = 0.3 }} }}]\n{labels}"
        );
        let live = Live { folder: tempfile::tempdir().unwrap(), recipe };
        live.send(&events);
        let (outcome, _) = live.learn();
        let (_, mut tensors) = newest(&live.path("run"));
        tensors.retain(|t| !t.name.starts_with("labels/"));
        (outcome.summary.events, outcome.summary.drift.unwrap(), tensors)
    });
    let [now, later] = runs;
    assert_eq!((now.0, now.1), (later.0, later.1));
    assert!(now.1.challengers >= 1 && now.1.moves >= 1, "{:?}", now.1);
    let named = |tensors: &[StateTensor]| -> Vec<String> {
        tensors.iter().map(|t| t.name.clone()).collect()
    };
    assert!(
        named(&now.2).iter().any(|name| name.starts_with("challenger/")),
        "{:?}",
        named(&now.2)
    );
    assert_eq!(named(&now.2), named(&later.2));
    for (a, b) in now.2.iter().zip(&later.2) {
        assert!(a.values.bytes().unwrap() == b.values.bytes().unwrap(), "{}", a.name);
    }
}
