//! Tables in Parquet: the same result as from the CSV that pandas writes of them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::*;

/// Written by `fixtures/parquet.py` with pandas.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_program_without_the_feature_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("r.toml");
    let table = fixture("table.parquet");
    let said = |arguments: &[&str]| {
        let output = tidemill(arguments);
        assert!(!output.status.success());
        let error = stderr(&output);
        assert!(
            error.contains("table.parquet: is a Parquet file, which this program cannot read"),
            "{error}"
        );
        assert!(error.contains("build it with `--features parquet`"), "{error}");
    };
    said(&["init", text(&table), "--out", text(&recipe)]);
    succeed(&["init", text(&fixture("table.csv")), "--label", "y", "--out", text(&recipe)]);
    said(&[
        "learn",
        text(&recipe),
        "--from",
        text(&table),
        "--out",
        text(&folder.path().join("run")),
    ]);
    let run = folder.path().join("batch");
    succeed(&["train", text(&recipe), "--out", text(&run), "--set", "batch.epochs=1"]);
    said(&["predict", text(&run), "--data", text(&table)]);
    let output = command(&["learn", text(&recipe), "--from", "-", "--set", "stream.format=csv"])
        .stdin(Stdio::from(File::open(&table).unwrap()))
        .output()
        .unwrap();
    assert!(stderr(&output).contains("name a file in place of a pipe"), "{}", stderr(&output));
}

#[cfg(feature = "parquet")]
#[test]
fn every_command_takes_parquet_for_the_csv_that_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    for name in ["table.csv", "table.parquet"] {
        std::fs::copy(fixture(name), path(name)).unwrap();
    }
    let recipe_of = |kind: &str| {
        let (data, recipe) = (path(&format!("table.{kind}")), path(&format!("{kind}.toml")));
        let found = succeed(&["init", &data, "--label", "y", "--out", &recipe]);
        let lines = std::fs::read_to_string(&recipe).unwrap();
        // What is not the same: names, and that the header is known.
        let lines = lines.replace(".parquet", ".csv").replace("parquet.toml", "csv.toml");
        (recipe, found.lines().count(), lines.replace("header = true\n", ""))
    };
    let (csv, parquet) = (recipe_of("csv"), recipe_of("parquet"));
    assert_eq!((csv.1, &csv.2), (parquet.1, &parquet.2));
    succeed(&["doctor", &parquet.0]);

    let few = ["--set", "batch.epochs=3"];
    let mut results = Vec::new();
    for (recipe, kind) in [(&csv.0, "csv"), (&parquet.0, "parquet")] {
        let (batch, stream, data) = (
            path(&format!("{kind}-batch")),
            path(&format!("{kind}-stream")),
            path(&format!("table.{kind}")),
        );
        succeed(&[&["train", recipe, "--out", &batch][..], &few].concat());
        let learn = ["learn", recipe, "--from", &data, "--out", &stream];
        // In two parts, of which the second passes over what the first has read.
        succeed(&[&learn[..], &["--until-events", "150"]].concat());
        succeed(&[&learn[..], &["--resume"]].concat());
        let of = |run: &str| {
            let line = std::fs::read_to_string(Path::new(run).join("summary.json")).unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            (line["state_sha256"].clone(), line["validation"].clone(), line["events"].clone())
        };
        let other = |command: &str, more: &[&str]| {
            // Each model with the file of the other kind.
            let other = path(if kind == "csv" { "table.parquet" } else { "table.csv" });
            let printed = succeed(&[&[command, &batch, "--data", &other][..], more].concat());
            printed.replace("table.parquet", "table.csv").replace("parquet-batch", "csv-batch")
        };
        let lines = |text: String| -> Vec<String> {
            // Lines of a file of rows are counted alike but for line ends within quotes.
            text.lines()
                .map(|line| line.split_once(',').map_or(line, |(_, rest)| rest).to_owned())
                .collect()
        };
        results.push((
            of(&batch),
            of(&stream),
            other("eval", &["--json"]),
            lines(other("predict", &["--keep", "kind"])),
            other("importance", &["--repeats", "1"]),
        ));
    }
    assert_eq!(results[0].0, results[1].0);
    assert_eq!(results[0].1, results[1].1);
    assert_eq!(results[0].1.2, 400);
    assert_eq!(results[0].2, results[1].2);
    assert_eq!(results[0].3, results[1].3);
    assert_eq!(results[0].4, results[1].4);
}

#[cfg(feature = "parquet")]
#[test]
fn what_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("r.toml");
    let error = |arguments: &[&str]| {
        let output = tidemill(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        stderr(&output)
    };
    let list = error(&["init", text(&fixture("list.parquet")), "--out", text(&recipe)]);
    assert!(list.contains("column `words` is a list"), "{list}");
    let bytes = std::fs::read(fixture("table.parquet")).unwrap();
    let cut = folder.path().join("cut.parquet");
    std::fs::write(&cut, &bytes[..9000]).unwrap();
    let cut = error(&["init", text(&cut), "--out", text(&recipe)]);
    assert!(cut.contains("cut.parquet") && cut.contains("this is no whole Parquet file"), "{cut}");
    succeed(&["init", text(&fixture("table.parquet")), "--label", "y", "--out", text(&recipe)]);
    let piped = command(&["learn", text(&recipe), "--from", "-"])
        .stdin(Stdio::from(File::open(fixture("table.parquet")).unwrap()))
        .output()
        .unwrap();
    assert!(stderr(&piped).contains("name a file in place of a pipe"), "{}", stderr(&piped));
}
