//! What a stream's model predicts: beside learning, afterwards, and the same however it is learned.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::place::*;
use common::*;
use serde_json::Value;

#[test]
fn predictions_are_written_beside_learning() {
    for recipe in [CLASSES, VALUES, LINEAR] {
        let place = Place::new(recipe);
        let mut data = classes(300);
        // One event without a label, and one that is bad.
        data.insert_str(
            data.len() / 2 + data[data.len() / 2..].find('\n').unwrap() + 1,
            "1,2,\nx,1\n",
        );
        place.write("data.csv", &data);
        place.learned("data.csv", &["--predictions", "whole.csv"]);
        let whole = std::fs::read_to_string(place.path("whole.csv")).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let probability = if recipe == VALUES { "" } else { ",probability" };
        assert_eq!(lines[0], format!("event,id,label,prediction{probability}"));
        assert_eq!(lines.len(), 302);
        let unlabelled = lines.iter().find(|l| l.split(',').nth(2) == Some("")).unwrap();
        assert!(unlabelled.split(',').nth(3).is_some_and(|p| !p.is_empty()), "{unlabelled}");
        if recipe != VALUES {
            let right = |l: &&&str| l.split(',').nth(2) == l.split(',').nth(3);
            let right = lines[1..].iter().filter(right).count() as f64;
            assert!((right / 300.0 - number(&place.summary(), "accuracy")).abs() < 1e-9);
        }
        // What a resume learns again is there once.
        place.learned("data.csv", &["--force", "--predictions", "p.csv", "--until-events", "100"]);
        place.write(
            "p.csv",
            &(std::fs::read_to_string(place.path("p.csv")).unwrap() + "101,more\n"),
        );
        place.learned("data.csv", &["--resume", "--predictions", "p.csv"]);
        assert_eq!(std::fs::read_to_string(place.path("p.csv")).unwrap(), whole);
        let says = place.refused("data.csv", &["--force", "--predictions", "./data.csv"], 2);
        assert!(says.contains("what the events are read from"), "{says}");
        // Nothing else is replaced either: a table, or the recipe.
        place.write("other.csv", "a,b\n1,2\n");
        for file in ["other.csv", "recipe.toml"] {
            let before = std::fs::read_to_string(place.path(file)).unwrap();
            let says = place.refused("data.csv", &["--force", "--predictions", file], 2);
            assert!(says.contains(file) && says.contains("something else"), "{says}");
            assert_eq!(std::fs::read_to_string(place.path(file)).unwrap(), before);
        }
    }
}

/// Events that are learned from without the option are said, and no line of those before is lost.
#[test]
fn a_gap_in_predictions_is_said() {
    let place = Place::new(CLASSES);
    place.write("data.csv", &classes(300));
    let lines = || std::fs::read_to_string(place.path("p.csv")).unwrap().lines().count();
    place.learned("data.csv", &["--predictions", "p.csv", "--until-events", "100"]);
    let without = stderr(&place.learn("data.csv", &["--resume", "--until-events", "200"]));
    assert!(without.contains("those from here on are not: --predictions FILE"), "{without}");
    assert_eq!(lines(), 101);
    let with =
        place.learn("data.csv", &["--resume", "--predictions", "p.csv", "--until-events", "250"]);
    let said = stderr(&with);
    assert!(said.contains("p.csv: has no line of 100 of the 200 events before"), "{said}");
    assert_eq!(lines(), 151);
    // A file that begins later.
    place.learned("data.csv", &["--force", "--until-events", "100"]);
    let said = stderr(&place.learn("data.csv", &["--resume", "--predictions", "new.csv"]));
    assert!(said.contains("new.csv: begins with event 101, since those before"), "{said}");
}

#[test]
fn the_best_epoch_of_a_stream_is_said_to_be_none() {
    let place = Place::new(CLASSES);
    place.write("data.csv", &classes(100));
    place.learned("data.csv", &[]);
    let run = |best: &[&str]| {
        let all = [&["predict", "run", "--data", "data.csv"], best].concat();
        stderr(&command(&all).current_dir(place.0.path()).output().unwrap())
    };
    assert!(run(&["--best"]).contains("the run has no best epoch") && !run(&[]).contains("best"));
}

#[test]
fn predictions_name_classes_as_labels_do() {
    let place = Place::new(LINEAR);
    let line = |i: usize| if i.is_multiple_of(2) { "1 | a:1\n" } else { "-1 | b:1\n" };
    let lines: String = (0..100).map(line).collect();
    place.write("data.vw", &lines);
    let more = ["--set", "stream.format=vw", "--predictions"];
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    let live = place.piped(&lines, &[&more[..], &["live.csv"]].concat());
    assert!(live.status.success(), "{}", stderr(&live));
    let wrong = |l: &&str| l.split(',').nth(2) != l.split(',').nth(3);
    let live = read("live.csv");
    assert!(live.lines().skip(1).filter(wrong).count() < 5, "{live}");
    place
        .learned("data.vw", &[&["--force"], &more[..], &["p.csv", "--until-events", "1"]].concat());
    place.learned("data.vw", &[&["--resume"], &more[..], &["p.csv"]].concat());
    assert_eq!(read("p.csv"), live);
}

/// A model may have more outputs than classes have come.
#[test]
fn outputs_without_a_class_are_never_predicted() {
    let place = Place::new(&CLASSES.replace("units = 2", "units = 4"));
    let data = classes(200).replace(",1\n", ",yes\n").replace(",0\n", ",no\n");
    let live = place.piped(&data, &["--set", "stream.format=csv", "--predictions", "p.csv"]);
    assert!(live.status.success(), "{}", stderr(&live));
    let predictions = std::fs::read_to_string(place.path("p.csv")).unwrap();
    let mut said = predictions.lines().skip(1).map(|line| line.split(',').nth(3).unwrap());
    // What is predicted before the first label has no name.
    assert_eq!(said.next(), Some(""));
    assert!(said.all(|class| class == "yes" || class == "no"), "{predictions}");
    // Labels and weights are not asked for, whatever they hold.
    let rows = "{\"a\":1,\"b\":1,\"y\":{\"x\":1e400}}\n{\"a\":-1,\"b\":-1,\"y\":[1]}\n";
    let (run, rows) = (place.path("run"), place.write("rows.jsonl", rows));
    let csv = succeed(&["predict", text(&run), "--data", text(&rows), "--all"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0].matches(',').count()), (3, 4), "{csv}");
    assert!(lines[0].contains("yes") && lines[0].contains("no"), "{csv}");
    assert!(lines[1].contains(",yes,") && lines[2].contains(",no,"), "{csv}");
    let json = succeed(&["predict", text(&run), "--data", text(&rows), "--all", "--json"]);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["outputs"].as_object().unwrap().len(), 2, "{first}");
}

#[test]
fn counts_are_learned_and_negative_ones_are_bad() {
    let place = Place::new(&VALUES.replace("huber", "poisson"));
    let count = |a: f64, b: f64| (1.0 + a - 0.5 * b).exp().round().to_string();
    let data = rows(3000, count);
    place.write("data.csv", &(data.clone() + "1,1,-1\n"));
    let output = place.learn("data.csv", &[]);
    let says = stderr(&output);
    assert!(says.contains("label -1: the loss poisson takes targets of 0 or more"), "{says}");
    let summary = place.summary();
    assert_eq!((&summary["events"], &summary["bad_events"]), (&3000.into(), &1.into()));
    let [ours, mean] = ["mae", "mean.mae"].map(|name| number(&summary, name));
    assert!(ours < 0.4 * mean, "{ours} {mean}");
    let (run, asked) = (place.path("run"), place.write("asked.csv", "a,b\n1,0\n-1,0\n"));
    let predicted = succeed(&["predict", text(&run), "--data", text(&asked), "--json"]);
    for (line, rate) in predicted.lines().zip([2.0_f64, 0.0].map(f64::exp)) {
        let line: Value = serde_json::from_str(line).unwrap();
        let found = line["outputs"]["output_0"].as_f64().unwrap();
        assert!((found / rate - 1.0).abs() < 0.3, "{line}, and the rate is {rate}");
    }
    let scaled = place.refused("data.csv", &["--set", "online.scale_targets=true"], 2);
    assert!(scaled.contains("has no meaning for the loss poisson"), "{scaled}");
    // Figures over such a target would mean nothing.
    let wrong = place.write("wrong.csv", "a,b,y\n1,0,3\n0,1,-1\n");
    let says = stderr(&tidemill(&["eval", text(&run), "--data", text(&wrong)]));
    let place_and_target = "wrong.csv:3: the target is -1; ";
    assert!(says.contains(place_and_target) && says.contains("0 or more"), "{says}");
    let predicted = succeed(&["predict", text(&run), "--data", text(&wrong)]);
    assert_eq!(predicted.lines().count(), 3);
    // In batches it is known before the first step.
    let table = "batch.data={ csv = { path = 'data.csv', label = 'y' } }";
    let train = ["train", "recipe.toml", "--out", "batch", "--set", table];
    let output = command(&train).current_dir(place.0.path()).output().unwrap();
    let says = stderr(&output);
    assert!(says.contains("data.csv:3002 has the target -1"), "{says}");
    assert!(says.contains("poisson takes targets of 0 or more"), "{says}");
}

#[test]
fn encoding_ahead_changes_nothing() {
    let online = "[online]\nscale_targets = false\n";
    let place = Place::new(&(VALUES.replace("huber", "mean_squared_error") + online));
    let data = rows(500, |a, b| (a - b).to_string());
    // Bad records, events without a label, and some whose loss is not finite.
    let odd = |(i, line): (usize, &str)| match i % 37 {
        5 => format!("{line}\n1,2\n"),
        11 => format!("{line}\n1,2,\n"),
        17 => format!("{line}\n1,2,9e18\n"),
        _ => format!("{line}\n"),
    };
    place.write("data.csv", &data.lines().enumerate().map(odd).collect::<String>());
    // What looks at each event is there when it is learned from.
    let one_by_one = place.learned("data.csv", &["--predictions", "p.csv"]);
    let read = |name: &str| std::fs::read_to_string(place.path("run").join(name)).unwrap();
    let [audit, dead] = ["audit.jsonl", "dead-letter.jsonl"].map(read);
    assert!(audit.lines().count() > 10 && dead.lines().count() > 10);
    let ahead = place.learned("data.csv", &["--force"]);
    assert_eq!((read("audit.jsonl"), read("dead-letter.jsonl")), (audit, dead));
    for key in ["state_sha256", "prequential", "events", "bad_events", "unlabelled"] {
        assert_eq!(one_by_one[key], ahead[key], "{key}");
    }
}

#[test]
fn predictions_far_from_zero_keep_their_digits() {
    let data = rows(300, |a, b| format!("{:?}", 1e9 + 2.0 * a - b));
    for recipe in [VALUES, &LINEAR.replace("binary_crossentropy", "mse")] {
        let place = Place::new(recipe);
        place.write("data.csv", &data);
        place.learned("data.csv", &[]);
        let (run, data) = (place.path("run"), place.path("data.csv"));
        let csv = succeed(&["predict", text(&run), "--data", text(&data)]);
        let json = succeed(&["predict", text(&run), "--data", text(&data), "--json"]);
        let csv = csv.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().to_owned());
        let values: Vec<f64> = csv.map(|value| value.parse().unwrap()).collect();
        let different: BTreeSet<u64> = values.iter().map(|v| v.to_bits()).collect();
        assert!(different.len() > 250, "{values:?}");
        for (line, value) in json.lines().zip(&values) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["outputs"]["output_0"].as_f64(), Some(*value), "{line}");
        }
    }
}

#[test]
fn a_linear_model_predicts_and_is_evaluated() {
    let place = Place::new(LINEAR);
    place.write("data.csv", &classes(2000));
    place.learned("data.csv", &[]);
    let (run, data) = (place.path("run"), place.path("data.csv"));
    let predicted = succeed(&["predict", text(&run), "--data", text(&data)]);
    assert_eq!(predicted.lines().count(), 2001);
    assert_eq!(predicted.lines().next(), Some("file,class,probability"));
    let evaluated = succeed(&["eval", text(&run), "--data", text(&data), "--json"]);
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    assert!(evaluated["figures"]["accuracy"].as_f64() > Some(0.9), "{evaluated}");
    assert!(evaluated["figures"]["auc"].as_f64() > Some(0.95), "{evaluated}");
    // Rows need no label to be predicted.
    let bare = place.write("bare.csv", "a,b\n2,2\n-2,-2\n");
    let predicted = succeed(&["predict", text(&run), "--data", text(&bare), "--json"]);
    let classes: Vec<Value> = predicted.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((&classes[0]["class"], &classes[1]["class"]), (&"1".into(), &"0".into()));
}
