//! What `tidemill init` is given of a table, and what it says of numbers that are written with signs.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{stderr, succeed, text, tidemill};

/// Rows of a file, whose recipe is made, trained and learned with; gives what `init` said and the recipe.
fn all(name: &str, rows: &str, more: &[&str]) -> (String, String) {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&place.path().join(name)).to_owned();
    let (table, recipe) = (path(name), path("recipe.toml"));
    std::fs::write(&table, rows).unwrap();
    let said = succeed(&[&["init", &table, "--out", &recipe][..], more].concat());
    let (run, stream) = (path("run"), path("stream"));
    succeed(&["train", &recipe, "--out", &run, "--set", "batch.epochs=1"]);
    succeed(&["learn", &recipe, "--from", &table, "--out", &stream]);
    let predicted = succeed(&["predict", &run, "--data", &table]);
    assert_eq!(predicted.lines().count(), rows.trim().lines().count(), "{predicted}");
    (said, std::fs::read_to_string(&recipe).unwrap())
}

fn table(header: &str, by: &str, value: impl Fn(usize) -> String) -> String {
    let row = |i: usize| format!("{}{by}{}{by}{}\n", i % 7, value(i), ["no", "yes"][i % 2]);
    format!("{header}\n{}", (0..60).map(row).collect::<String>())
}

#[test]
fn numbers_with_signs_and_spaces_are_numbers() {
    let amount = |i: usize| 1000 + i * 37;
    for (name, rows, note) in [
        (
            "dollars.csv",
            table("a,b,y", ",", |i| format!("\"${},{:03}.50\"", i % 9 + 1, amount(i) % 1000)),
            "`$` is no part",
        ),
        ("shares.csv", table("a,b,y", ",", |i| format!("{}.5%", i * 7 % 50)), "`%` is no part"),
        ("euros.csv", table("a;b;y", ";", |i| format!("{},5 €", amount(i))), "`€` is no part"),
        (
            "spaces.csv",
            table("a;b;y", ";", |i| format!("{} {:03}", i % 9 + 1, amount(i) % 1000)),
            "spaces group thousands",
        ),
        ("french.csv", table("a;b;y", ";", |i| format!("{}\u{202f}{:03},5", i % 9 + 1, i)), ""),
        ("minus.csv", table("a,b,y", ",", |i| format!("\u{2212}{i}.5")), ""),
    ] {
        let (said, _) = all(name, &rows, &[]);
        assert!(said.contains("2 columns of numbers") && said.contains(note), "{name}: {said}");
    }
    let rows = table("a,b,y", ",", |i| format!("{} kg", i * 31));
    let (said, _) = all("kg.csv", &rows, &[]);
    assert!(said.contains("set units = [\"kg\"] in [stream]"), "{said}");
    let (said, recipe) = all("kg.csv", &rows, &["--units", "kg"]);
    assert!(said.contains("2 columns of numbers") && recipe.contains("units = [\"kg\"]"), "{said}");
}

#[test]
fn texts_that_are_mostly_numbers_are_said() {
    let rows = table("a,b,y", ",", |i| if i % 5 == 0 { ".".into() } else { i.to_string() });
    let (said, _) = all("sas.csv", &rows, &[]);
    assert!(
        said.contains("column `b` is text, as 12 of its 60 values are no numbers, such as `.`"),
        "{said}"
    );
}

#[test]
fn lines_that_are_passed_over_are_said() {
    let rows = table("Report\nof Monday\na,b,y", ",", |i| format!("{i}.5"));
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&place.path().join(name)).to_owned();
    std::fs::write(path("t.csv"), &rows).unwrap();
    let said = succeed(&["init", &path("t.csv"), "--out", &path("r.toml")]);
    assert!(
        said.contains(
            "lines before the table were passed over, the first of them `Report` (2 times)"
        ),
        "{said}"
    );
}

#[test]
fn labels_are_named_by_their_place() {
    let rows = table("a,b,y", ",", |i| format!("{i}.5"));
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&place.path().join(name)).to_owned();
    std::fs::write(path("t.csv"), &rows).unwrap();
    let (table, recipe) = (path("t.csv"), path("r.toml"));
    for (label, name) in [("-1", "y"), ("2", "y"), ("0", "a"), ("-2", "b"), ("b", "b")] {
        let said = succeed(&["init", &table, "--label", label, "--out", &recipe, "--force"]);
        assert!(said.contains(&format!("The label is the column `{name}`")), "{label}: {said}");
    }
    let error = stderr(&tidemill(&["init", &table, "--label", "3", "--out", &recipe, "--force"]));
    assert!(
        error.contains("--label 3: there is no such column; its 3 columns are 0 to 2"),
        "{error}"
    );
}

#[test]
fn other_quotes_and_delimiters() {
    let rows = table("a,b,y", ",", |i| format!("'{}, AT'", ["Ulm", "Graz"][i / 2 % 2]));
    let (said, recipe) = all("single.csv", &rows, &["--quote", "'"]);
    assert!(
        said.contains("1 column of numbers, 1 column of text") && recipe.contains("quote = \"'\""),
        "{said}"
    );
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&place.path().join(name)).to_owned();
    std::fs::write(path("caret.csv"), table("a^b^y", "^", |i| i.to_string())).unwrap();
    std::fs::write(path("old.csv"), "a,y\r1,2\r3,4\r").unwrap();
    for (file, more, what) in [
        ("caret.csv", [].as_slice(), "name it with --delimiter"),
        (
            "caret.csv",
            &["--delimiter", "^", "--thousands", "^"],
            "thousands and delimiter are both",
        ),
        ("old.csv", &[], "end with carriage returns alone"),
    ] {
        let error =
            stderr(&tidemill(&[&["init", &path(file), "--out", &path("r.toml")], more].concat()));
        assert!(error.contains(what), "{file}: {error}");
    }
}
