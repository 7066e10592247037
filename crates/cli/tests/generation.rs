//! Models of tokens: a text that is continued, texts that become others.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::{command, random, stderr};

fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = command(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn summary(folder: &Path, run: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join(run).join("summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn error(folder: &Path, arguments: &[&str]) -> String {
    let output = command(arguments).current_dir(folder).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    stderr(&output)
}

const NEXT: &str = r#"
[model]
decoder_only = { units = 32, heads = 2, layers = 2, context = 24, dropout = 0.1 }

[text]
tokenizer = { characters = {} }

[training]
loss      = "token_crossentropy"
optimizer = { adamw = { learning_rate = 5e-3, weight_decay = 0.01 } }
average   = { ema = 0.95 }
seed      = 1

[batch]
data       = { text = { path = "song.txt", validation_split = 0.1, subset = "training", stride = 5 } }
validation = { text = { path = "song.txt", validation_split = 0.1, subset = "validation" } }
batch_size = 16
epochs     = 9
"#;

fn song(folder: &Path) {
    let mut next = random();
    let verses =
        ["the boat waits at noon.\n", "grey water turns the mill.\n", "we row till seven.\n"];
    let text: String = (0..200).map(|_| verses[next(3)]).collect();
    std::fs::write(folder.join("song.txt"), text).unwrap();
    std::fs::write(folder.join("next.toml"), NEXT).unwrap();
}

#[test]
fn a_text_is_learned_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    song(folder);
    run(folder, &["train", "next.toml", "--out", "a", "--threads", "1"]);
    let whole = summary(folder, "a");
    // Only the first letter of a verse is open: 1.1 nats every 23 characters.
    assert!(whole["validation"]["loss"].as_f64().unwrap() < 0.2, "{whole}");
    let text = run(folder, &["predict", "a", "--text", "the boat", "--tokens", "14"]);
    assert_eq!(text, "the boat waits at noon\n");
    let drawn = |seed: &str| {
        let sample = format!("temperature=1.0,top_p=0.9,seed={seed}");
        run(folder, &["predict", "a", "--text", "we", "--sample", &sample, "--tokens", "60"])
    };
    assert_eq!(drawn("1"), drawn("1"));
    assert!((2..9).any(|seed| drawn(&seed.to_string()) != drawn("1")));
    // The same bits by other threads, and where a run was cut in an epoch.
    let cut = ["train", "next.toml", "--out", "b", "--threads", "3", "--set", "stop.steps=70"];
    run(folder, &cut);
    run(folder, &["train", "next.toml", "--out", "b", "--resume", "--threads", "2"]);
    let resumed = summary(folder, "b");
    assert_eq!(resumed["state_sha256"], whole["state_sha256"]);
    assert_eq!(resumed["validation"], whole["validation"]);
    // The run needs its text no longer.
    std::fs::remove_file(folder.join("song.txt")).unwrap();
    assert!(
        run(folder, &["predict", "b", "--text", "grey water t", "--tokens", "5"])
            .starts_with("grey water turns")
    );
}

#[test]
fn texts_of_a_file_begin_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    song(folder);
    let recipe = NEXT
        .replace("{ characters = {} }", "{ characters = { special = true } }")
        .replace(", stride = 5", "")
        .replace("path = ", "texts = \"lines\", path = ")
        .replace("batch_size = 16", "batch_tokens = 400");
    std::fs::write(folder.join("lines.toml"), recipe).unwrap();
    run(folder, &["train", "lines.toml", "--out", "a", "--set", "batch.epochs=25"]);
    let predict = |text: &str| run(folder, &["predict", "a", "--text", text, "--tokens", "60"]);
    assert_eq!(predict("the boat"), "the boat waits at noon.\n");
    let whole = predict("");
    let verses =
        ["the boat waits at noon.\n", "grey water turns the mill.\n", "we row till seven.\n"];
    assert!(verses.contains(&whole.as_str()), "{whole}");
}

#[test]
fn the_last_epochs_are_averaged() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    song(folder);
    let plain = NEXT.replace("average   = { ema = 0.95 }\n", "");
    std::fs::write(folder.join("plain.toml"), plain).unwrap();
    let train = |out: &str, set: &[&str]| {
        let mut arguments = vec!["train", "plain.toml", "--out", out, "--set", "batch.epochs=4"];
        set.iter().for_each(|one| arguments.extend(["--set", one]));
        run(folder, &arguments);
        summary(folder, out)
    };
    let average = "training.average={ epochs = 3 }";
    let whole = train("a", &[average]);
    train("b", &[average, "stop.steps=70"]);
    run(
        folder,
        &[
            "train",
            "plain.toml",
            "--out",
            "b",
            "--resume",
            "--set",
            average,
            "--set",
            "batch.epochs=4",
        ],
    );
    let resumed = summary(folder, "b");
    assert_eq!(resumed["validation"], whole["validation"]);
    assert_eq!(resumed["state_sha256"], whole["state_sha256"]);
    // The average of one epoch is what the epoch ends with, and no average changes what is learned.
    let last = train("c", &["training.average={ epochs = 1 }"]);
    let other = train("d", &[]);
    assert_eq!(last["validation"], other["validation"]);
    assert_eq!(last["state_sha256"], whole["state_sha256"]);
    assert_ne!(last["validation"], whole["validation"]);
    let evaluated = run(folder, &["eval", "a", "--json"]);
    let loss: serde_json::Value = serde_json::from_str(evaluated.trim()).unwrap();
    // In batches of another size.
    let [there, here] =
        [&whole["validation"], &loss["figures"]].map(|f| f["loss"].as_f64().unwrap());
    assert!((there - here).abs() < 1e-6 * there, "{there}, {here}");
}

const TRANSLATE: &str = r#"
[model]
encoder_decoder = { units = 32, heads = 2, encoder = 1, decoder = 1, length = 24 }

[text]
tokenizer = { words = {} }

[training]
loss      = { token_crossentropy = { label_smoothing = 0.05 } }
optimizer = { adamw = { learning_rate = 5e-3 } }
seed      = 2

[batch]
data         = { parallel = { source = "train.en", target = "train.de" } }
validation   = { parallel = { source = "test.en", target = "test.de" } }
batch_tokens = 200
epochs       = 20
"#;

const WORDS: [(&str, &str); 10] = [
    ("one", "eins"),
    ("two", "zwei"),
    ("three", "drei"),
    ("four", "vier"),
    ("five", "sechs"),
    ("dog", "Hund"),
    ("cat", "Katze"),
    ("and", "und"),
    ("runs", "rennt"),
    ("sees", "sieht"),
];

/// Sentences and their translations, word by word.
fn sentences(folder: &Path) {
    let mut next = random();
    for (name, count) in [("train", 600), ("test", 60)] {
        let (mut source, mut target) = (String::new(), String::new());
        for _ in 0..count {
            let words: Vec<_> = (0..1 + next(8)).map(|_| WORDS[next(WORDS.len())]).collect();
            let join = |words: Vec<&str>| words.join(" ") + "\n";
            source += &join(words.iter().map(|w| w.0).collect());
            target += &join(words.iter().map(|w| w.1).collect());
        }
        std::fs::write(folder.join(format!("{name}.en")), source).unwrap();
        std::fs::write(folder.join(format!("{name}.de")), target).unwrap();
    }
    std::fs::write(folder.join("translate.toml"), TRANSLATE).unwrap();
}

#[test]
fn texts_become_others() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    sentences(folder);
    let shown = command(&["train", "translate.toml", "--out", "a", "--threads", "1"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(stderr(&shown).contains("is padding"), "{}", stderr(&shown));
    let whole = summary(folder, "a");
    assert!(whole["validation"]["accuracy"].as_f64().unwrap() > 0.97, "{whole}");
    assert_eq!(run(folder, &["predict", "a", "--text", "two dog and"]), "zwei Hund und\n");
    let figures = run(folder, &["eval", "a", "--beam", "3"]);
    assert!(
        figures.contains("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2"),
        "{figures}"
    );
    let bleu = figures.split(" = ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(bleu.parse::<f64>().unwrap() > 90.0, "{figures}");
    // Each line has its translations, whatever lines are beside it; an empty one has none.
    std::fs::write(folder.join("in.txt"), "one\n\nthree four cat sees dog\n").unwrap();
    let lines = run(folder, &["predict", "a", "--data", "in.txt", "--json", "--n-best", "2"]);
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["translations"][0]["text"], "eins");
    assert_eq!(lines[0]["translations"].as_array().unwrap().len(), 2);
    assert_eq!(lines[1]["translations"], serde_json::json!([]));
    assert_eq!(lines[2]["translations"][0]["text"], "drei vier Katze sieht Hund");
    // To the last bit of a score, by any number of threads.
    let ask = |rest: &[&str]| {
        run(
            folder,
            &[&["predict", "a", "--json", "--n-best", "3", "--prefix", "zwei"], rest].concat(),
        )
    };
    let together = ask(&["--data", "test.en", "--threads", "1"]);
    let test = std::fs::read_to_string(folder.join("test.en")).unwrap();
    for (line, together) in test.lines().zip(together.lines()).step_by(9) {
        assert_eq!(ask(&["--text", line, "--threads", "3"]).trim_end(), together);
    }
    // A text that is longer than the model reads is counted.
    std::fs::write(folder.join("long.txt"), "one\n".to_owned() + &"two ".repeat(500)).unwrap();
    let long =
        command(&["predict", "a", "--data", "long.txt"]).current_dir(folder).output().unwrap();
    assert!(
        stderr(&long).contains("note: 1 text is longer than the model reads"),
        "{}",
        stderr(&long)
    );
    for options in [["--n-best", "0"].as_slice(), &["--n-best", "4", "--beam", "3"]] {
        let message = error(folder, &[&["predict", "a", "--text", "one"], options].concat());
        assert!(message.contains("--n-best"), "{message}");
    }
    let begun = run(folder, &["predict", "a", "--text", "two dog and", "--prefix", "vier"]);
    assert!(begun.starts_with("vier Hund"), "{begun}");
    // The same bits by other threads, and where a run was cut in an epoch.
    let cut = ["train", "translate.toml", "--out", "b", "--threads", "3", "--set", "stop.steps=40"];
    run(folder, &cut);
    let resume = ["train", "translate.toml", "--out", "b", "--resume", "--threads", "2"];
    run(folder, &resume);
    assert_eq!(summary(folder, "b")["state_sha256"], whole["state_sha256"]);
    // The tokens of a run stay.
    let other = ["--set", "text.tokenizer.words.vocabulary=12", "--set", "batch.epochs=13"];
    let resumed = command(&[&resume[..], &other].concat()).current_dir(folder).output().unwrap();
    let said = stderr(&resumed);
    assert!(
        resumed.status.success() && said.contains("text.tokenizer has changed, and has no effect"),
        "{said}"
    );
}

#[test]
fn what_the_texts_tell_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    sentences(folder);
    // Ten words, each in two languages, and four special tokens: a table of 24 rows of 32.
    let plan = run(folder, &["explain", "translate.toml"]);
    let table = plan.lines().find(|line| line.contains("0.embedding ")).unwrap();
    assert!(table.contains(" 768 ") && !plan.contains("stand in"), "{plan}");
    let lost = "batch.data.parallel.source=nothing.en";
    let plan = run(folder, &["explain", "translate.toml", "--set", lost]);
    assert!(plan.contains("256 tokens stand in: ") && plan.contains("nothing.en"), "{plan}");
    let few = "text.tokenizer.words.vocabulary=9";
    let doctor = command(&["doctor", "translate.toml", "--set", few]).current_dir(folder).output();
    let doctor = doctor.unwrap();
    let said = String::from_utf8(doctor.stdout.clone()).unwrap() + &stderr(&doctor);
    assert!(
        said.contains("tokens of the texts stand for words that the vocabulary lacks"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    song(folder);
    sentences(folder);
    let train = |recipe: &str, set: &[&str]| {
        let mut arguments = vec!["train", recipe, "--out", "x"];
        set.iter().for_each(|one| arguments.extend(["--set", one]));
        error(folder, &arguments)
    };
    for (recipe, set, what) in [
        ("next.toml", "model.decoder_only.heads=3", "decoder_only.heads must divide units"),
        ("next.toml", "model.layers=[]", "layers has no place beside decoder_only"),
        ("next.toml", "batch.batch_tokens=100", "has no place beside batch.batch_size"),
        ("next.toml", "training.average.ema=1.5", "training.average.ema must be from 0 to below 1"),
        (
            "next.toml",
            "training.average={ epochs = 0 }",
            "training.average.epochs must be 1 or more, found 0",
        ),
        ("next.toml", "training.loss=mse", "gives a row for each position of a sequence"),
        ("translate.toml", "text.tokenizer.words.vocabulary=4", "vocabulary"),
        ("translate.toml", "batch.data.parallel.target=test.de", "has 600 lines and"),
        ("translate.toml", "batch.data.parallel.source=nothing.en", "nothing.en"),
        (
            "translate.toml",
            "batch.data={ text = { path = \"train.en\" } }",
            "batch.data is text, which is for models that read tokens as x, as decoder_only does; this one reads \
             source and target",
        ),
        (
            "next.toml",
            "batch.validation={ parallel = { source = \"train.en\", target = \"train.de\" } }",
            "batch.validation is parallel, which is for models that read tokens as source and target",
        ),
    ] {
        let message = train(recipe, &[set]);
        assert!(message.contains(what), "{set}: {message}");
    }
    std::fs::write(
        folder.join("train.en"),
        "one\ntw\u{f6}\n".chars().map(|c| c as u8).collect::<Vec<u8>>(),
    )
    .unwrap();
    assert!(train("translate.toml", &[]).contains("train.en: line 2 is not valid UTF-8"));
    std::fs::write(folder.join("song.txt"), "a").unwrap();
    assert!(train("next.toml", &[]).contains("no character in the training texts"));
}
