//! `tidemill init`: its recipes train or learn as they are written, and their comments are true.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::{stderr, succeed, text, tidemill};

/// A folder to work in; commands get absolute paths.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        text(&self.0.path().join(name)).to_owned()
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a recipe for the data; gives what was printed and the recipe's text.
    fn init(&self, data: &[&str], more: &[&str]) -> (String, String) {
        let recipe = self.path("recipe.toml");
        let said = succeed(&[&["init"], data, &["--out", &recipe, "--force"], more].concat());
        (said, std::fs::read_to_string(recipe).unwrap())
    }

    /// Trains a few steps; gives what was printed.
    fn train(&self) -> String {
        let (recipe, out) = (self.path("recipe.toml"), self.path("run"));
        let few = ["--set", "batch.epochs=1", "--set", "stop.steps=20", "--force"];
        succeed(&[&["train", &recipe, "--out", &out], &few[..]].concat())
    }

    /// Learns from some events; gives what was printed.
    fn learn(&self, from: &str, events: &str) -> String {
        let (recipe, out) = (self.path("recipe.toml"), self.path("stream"));
        succeed(&[
            "learn",
            &recipe,
            "--from",
            from,
            "--out",
            &out,
            "--until-events",
            events,
            "--force",
        ])
    }
}

#[test]
fn a_split_image_folder() {
    let place = Place::new();
    let digits = place.path("digits");
    succeed(&["data", "digits", "--out", &digits, "--train", "20", "--test", "5", "--size", "20"]);
    let (said, recipe) = place.init(&[&digits], &[]);
    assert!(said.contains("200 images of 10 classes"), "{said}");
    assert!(said.contains("all of 20 x 20 pixels, grey"), "{said}");
    assert!(said.contains("The 50 images in the folder test are for validation"), "{said}");
    assert!(recipe.contains("height = 20, width = 20, channels = 1"), "{recipe}");
    assert!(place.train().contains("validation accuracy"));
    place.learn(&format!("{digits}/train"), "50");
    let doctor = tidemill(&["doctor", &place.path("recipe.toml")]);
    assert!(doctor.status.success(), "{doctor:?}");
    // The same with a fifth kept for validation.
    let (said, recipe) = place.init(&[&format!("{digits}/train")], &[]);
    assert!(said.contains("A fifth of the images is kept"), "{said}");
    assert!(recipe.contains("validation_split = 0.2"), "{recipe}");
    place.train();
}

#[test]
fn folders_that_have_no_classes() {
    let place = Place::new();
    let digits = place.path("digits");
    succeed(&["data", "digits", "--out", &digits, "--train", "2", "--test", "1", "--size", "8"]);
    for (folder, what) in
        [("digits/train/3", "no sub-folder for each class"), ("nowhere", "no such")]
    {
        let out = place.path("recipe.toml");
        let output = tidemill(&["init", &place.path(folder), "--out", &out]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(what), "{output:?}");
    }
}

#[test]
fn a_folder_of_texts() {
    let place = Place::new();
    let texts = place.0.path().join("mails");
    for i in 0..40 {
        let (class, text) = [("ham", "see you at"), ("spam", "win a prize")][i % 2];
        let folder = texts.join(class);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{i}.txt")), format!("{text} {i}")).unwrap();
    }
    let (said, _) = place.init(&[text(&texts)], &[]);
    assert!(said.contains("40 texts of 2 classes (ham, spam)"), "{said}");
    assert!(place.train().contains("validation accuracy"));
}

#[test]
fn idx_files() {
    let place = Place::new();
    let folder = place.0.path().join("set");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, dims: &[u32], value: &dyn Fn(u32) -> u8| {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        bytes.extend((0..dims.iter().product()).map(value));
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    for (part, n) in [("train", 40), ("t10k", 10)] {
        write(&format!("{part}-images-idx3-ubyte"), &[n, 16, 16], &|i| (i * 7 % 251) as u8);
        write(&format!("{part}-labels-idx1-ubyte"), &[n], &|i| (i % 4) as u8);
    }
    let (said, _) = place.init(&[text(&folder)], &[]);
    assert!(said.contains("40 samples of 4 classes, each 16 x 16 x 1"), "{said}");
    assert!(said.contains("The 10 samples of"), "{said}");
    place.train();
    place.learn("data:", "10");
    let images = folder.join("t10k-images-idx3-ubyte");
    let (said, _) = place.init(&[text(&images)], &[]);
    assert!(said.contains("10 samples of 4 classes"), "{said}");
    place.train();
}

#[test]
fn tables_of_each_format() {
    let place = Place::new();
    let (mut csv, mut json, mut arff, mut vw) = (
        "a;b;kind;class\n".to_owned(),
        String::new(),
        "@relation r\n@attribute a numeric\n@attribute kind {x,y,z}\n@attribute class {no,yes}\n@data\n"
            .to_owned(),
        String::new(),
    );
    for i in 0..300 {
        let (a, kind) = (i * 37 % 101, ["x", "y", "z"][i % 3]);
        let class = if a > 50 { "yes" } else { "no" };
        writeln!(csv, "{a};{}.25;{kind};{class}", i % 11).unwrap();
        writeln!(json, "{{\"a\": {a}, \"kind\": \"{kind}\", \"class\": \"{class}\"}}").unwrap();
        writeln!(arff, "{a},{kind},{class}").unwrap();
        writeln!(vw, "{} |f a:{a} {kind}", if a > 50 { 1 } else { -1 }).unwrap();
    }
    for (name, content) in
        [("t.csv", &csv), ("t.jsonl", &json), ("t.arff", &arff), ("t.vw", &vw), ("events", &json)]
    {
        let data = place.write(name, content);
        let (said, recipe) = place.init(&[&data], &[]);
        let printed = place.learn(&data, "300");
        assert!(printed.contains("accuracy"), "{name}: {said}{recipe}{printed}");
        if !recipe.contains("linear = ") {
            assert!(place.train().contains("training accuracy"), "{name}: {recipe}");
        }
    }
    let data = place.write("t.csv", &csv);
    let (said, _) = place.init(&[&data], &["--label", "a"]);
    assert!(said.contains("The label is the column `a`, a number"), "{said}");
    assert!(place.learn(&data, "300").contains("mean absolute error"));
}

#[test]
fn a_recipe_beside_the_data_names_it_as_given() {
    let place = Place::new();
    place.write("t.csv", "a,class\n1,x\n2,y\n3,x\n4,y\n");
    let run = |arguments: &[&str]| {
        let mut command = common::command(arguments);
        let output = command.current_dir(place.0.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&["init", "t.csv"]);
    assert!(said.contains("tidemill learn recipe.toml --from t.csv"), "{said}");
    run(&["learn", "recipe.toml", "--from", "t.csv"]);
    let output = common::command(&["init", "t.csv"]).current_dir(place.0.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("exists already"), "{output:?}");
}

/// The shared datasets, if they are there.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn real_images() {
    for (name, found) in [
        ("mnist", "60,000 samples of 10 classes"),
        ("fashion_mnist", "60,000 samples of 10 classes"),
        ("cifar10_jpg_subset/cifar10_jpg_subset.tar.gz", "10,000 images of 10 classes"),
        ("imagenet_sample_150/imagenet_sample_150.tar", "150 images of 150 classes"),
    ] {
        let Some(data) = shared(name) else { continue };
        let place = Place::new();
        let (said, recipe) = place.init(&[text(&data)], &[]);
        assert!(said.contains(found), "{said}");
        let printed = place.train();
        assert!(printed.contains("training accuracy"), "{recipe}{printed}");
    }
}

#[test]
fn real_tables() {
    for (name, found, more) in [
        ("adult_census/adult.data.gz", "32,561 rows", &[][..]),
        ("electricity/elec2_8.csv.gz", "with 2 classes: 0, 1", &[]),
        ("weather_noaa/weather.csv.gz", "18,159 rows", &[]),
        ("covertype_20k/covtype.20k.data.gz", "with 7 classes", &[]),
        ("phishing_websites/phishing.csv.gz", "11,055 rows", &[]),
        ("sms_spam/SMSSpamCollection", "with 2 classes: ham, spam", &["--label", "c1"]),
        ("criteo_sample/criteo_sample.txt", "with 2 classes: 0, 1", &[]),
        ("movielens_latest_small/ratings.csv", "100,836 rows", &["--label", "rating"]),
        (
            "metro_traffic/Metro_Interstate_Traffic_Volume.csv.gz",
            "`traffic_volume`, a number",
            &["--label", "traffic_volume"],
        ),
        (
            "beijing_pm25/PRSA_data_2010.1.1-2014.12.31.csv.gz",
            "`pm2.5`, a number",
            &["--label", "pm2.5"],
        ),
    ] {
        let Some(data) = shared(name) else { continue };
        let place = Place::new();
        let (said, recipe) = place.init(&[text(&data)], more);
        assert!(said.contains(found), "{said}");
        let printed = place.learn(text(&data), "3000");
        let scored = printed.contains("accuracy") || printed.contains("mean absolute error");
        assert!(scored, "{recipe}{printed}");
        place.train();
    }
}

#[test]
fn arrays_of_numpy() {
    let arrays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/numpy/arrays.npz");
    let place = Place::new();
    let (said, recipe) = place.init(&[text(&arrays)], &[]);
    assert!(said.contains("5 samples of 4 x 3 x 1, with 3 classes"), "{said}");
    assert!(recipe.contains("x = \"x\", y = \"y\""), "{recipe}");
    let printed = place.train();
    assert!(printed.contains("training accuracy"), "{recipe}{printed}");
}

#[test]
fn all_keys_of_events_are_inputs() {
    let place = Place::new();
    let event = |i: usize| match i {
        0 => "{\"a\": 1, \"class\": \"x\"}\n".to_owned(),
        i => format!("{{\"a\": {}, \"b\": {}, \"class\": \"{}\"}}\n", i % 7, i, ["x", "y"][i % 2]),
    };
    let data = place.write("t.jsonl", &(0..60).map(event).collect::<String>());
    let (said, recipe) = place.init(&[&data], &[]);
    assert!(said.contains("60 rows, 2 columns of numbers"), "{said}");
    assert!(recipe.contains("columns = [\"a\", \"b\"]"), "{recipe}");
    assert!(place.train().contains("validation accuracy"));
    place.learn(&data, "60");
}

#[test]
fn json_of_other_layouts() {
    let place = Place::new();
    let rows =
        (0..60).map(|i| format!("{{\"a\": {}, \"class\": \"{}\"}}", i % 7, ["x", "y"][i % 2]));
    let rows: Vec<String> = rows.collect();
    let array = place.write("t.json", &format!("[{}]", rows.join(",")));
    let lines = place.write("t.jsonl", &rows.join("\n"));
    let (said, _) = place.init(&[&array], &[]);
    assert!(said.contains("60 rows, 1 column of numbers"), "{said}");
    assert!(place.train().contains("validation accuracy"));
    let run = place.path("run");
    let predicted = |data: &str| {
        let printed = succeed(&["predict", &run, "--data", data]);
        printed.lines().map(|l| l.split_once(',').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(predicted(&array), predicted(&lines));
    let eval = |data: &str| succeed(&["eval", &run, "--data", data]);
    assert_eq!(eval(&array), eval(&lines));
    // Without data, on what was kept for validation.
    assert!(succeed(&["eval", &run]).contains("accuracy"));
    // A recipe for CSV, and a file of JSON.
    let csv = (0..60).map(|i| format!("{},{}\n", i % 7, ["x", "y"][i % 2]));
    let csv = place.write("t.csv", &format!("a,class\n{}", csv.collect::<String>()));
    place.init(&[&csv], &[]);
    for data in [&array, &lines] {
        assert!(place.learn(data, "60").contains("accuracy"));
    }
    // Tables as pandas writes them by default, and split.
    let columns = "{\"a\":{\"0\":1,\"1\":2},\"class\":{\"0\":\"x\",\"1\":\"y\"}}";
    let split = "{\"columns\":[\"a\",\"class\"],\"index\":[0,1],\"data\":[[1,\"x\"],[2,\"y\"]]}";
    for text in [columns, split] {
        let data = place.write("pandas.json", text);
        let (recipe, out) = (place.path("recipe.toml"), place.path("out"));
        for uses in [
            &["init", &data, "--out", &recipe, "--force"][..],
            &["predict", &run, "--data", &data],
            &["learn", &recipe, "--from", &data, "--out", &out, "--force"],
        ] {
            let output = tidemill(uses);
            assert!(!output.status.success(), "{uses:?}");
            let error = stderr(&output);
            assert!(error.contains("to_json(orient=\"records\")"), "{uses:?}: {error}");
        }
    }
}

#[test]
fn an_empty_folder_is_a_class_and_is_named() {
    let place = Place::new();
    let digits = place.path("digits");
    succeed(&["data", "digits", "--out", &digits, "--train", "12", "--test", "4", "--size", "8"]);
    std::fs::create_dir(format!("{digits}/train/none")).unwrap();
    let (said, recipe) = place.init(&[&digits], &[]);
    assert!(said.contains("The folder none is empty and counts as a class"), "{said}");
    assert!(recipe.contains("units = 11"), "{recipe}");
    assert!(place.train().contains("validation accuracy"));
    // Training says it too, also where the recipe has fewer outputs.
    let (recipe, out) = (place.path("recipe.toml"), place.path("other"));
    let text = std::fs::read_to_string(&recipe).unwrap().replace("units = 11", "units = 10");
    std::fs::write(&recipe, text).unwrap();
    let output = tidemill(&["train", &recipe, "--out", &out]);
    let error = stderr(&output);
    assert!(!output.status.success() && error.contains("no sample of none"), "{error}");
}

/// How a table is written can be said, and stands in the recipe.
#[test]
fn what_is_given_of_a_table_is_taken() {
    let place = Place::new();
    let row = |i: usize| format!("{}.{:03}|x {i}|{}\n", 1 + i % 7, i * 37 % 1000, i % 2);
    let rows: String = (0..60).map(row).collect();
    let table = place.write("t.csv", &format!("a title\nn|t|y\n{rows}"));
    let (_, guessed) = place.init(&[&table], &[]);
    let given = ["--delimiter", "|", "--thousands", ".", "--decimal", ",", "--encoding", "latin1"];
    let given = [&given[..], &["--header", "true", "--skip-rows", "1", "--label", "y"]].concat();
    let (_, recipe) = place.init(&[&table], &given);
    for line in
        ["delimiter = \"|\"", "thousands = \".\"", "decimal = \",\"", "encoding = \"latin1\""]
    {
        assert!(recipe.contains(line), "{line}: {recipe}");
    }
    assert!(recipe.contains("header = true\n") && recipe.contains("skip_rows = 1\n"), "{recipe}");
    assert!(!guessed.contains("skip_rows") && !guessed.contains("encoding"), "{guessed}");
    // 1.037 is 1037 now.
    place.train();
    let doctor = succeed(&["doctor", &place.path("recipe.toml")]);
    assert!(
        doctor.contains("1000") || doctor.contains("2037") || doctor.contains("1037"),
        "{doctor}"
    );
    let wrong = |data: &str, more: &[&str], says: &str| {
        let out = place.path("w.toml");
        let all = [&["init", data, "--out", &out], more].concat();
        let error = stderr(&tidemill(&all));
        assert!(error.contains(says), "{more:?}: {error}");
    };
    wrong(&table, &["--decimal", ".."], "--decimal must be one character");
    let lines = place.write("t.jsonl", "{\"a\": 1, \"y\": 2}\n");
    wrong(&lines, &["--delimiter", ";"], "has no delimiter; leave it out");
    let images = place.path("images");
    std::fs::create_dir(&images).unwrap();
    wrong(&images, &["--decimal", ","], "--decimal is for tables");
}

#[test]
fn what_init_leaves_out_is_named() {
    let place = Place::new();
    let row = |i: usize| format!("n{i};{}'{:03}.5;{}.5;{}\n", 1 + i, i * 37 % 1000, i % 9, i % 2);
    let rows: String = (0..60).map(row).collect();
    let table = place.write("t.csv", &format!("name;price;size;y\n{rows}"));
    let (said, recipe) = place.init(&[&table], &[]);
    let names = "Left out: `name` is different in nearly every row, such as `n0`, `price` is \
                 different in nearly every row, such as `1'000.5`; where such texts are numbers, \
                 --decimal and --thousands say";
    assert!(said.contains(names), "{said}");
    assert!(recipe.contains("ignore = [\"name\", \"price\"]"), "{recipe}");
    // That option is enough.
    let (said, recipe) = place.init(&[&table], &["--thousands", "'"]);
    assert!(said.contains("2 columns of numbers") && !said.contains("--decimal"), "{said}");
    assert!(recipe.contains("thousands = \"'\"\nlabel"), "{recipe}");
    place.train();
    // So it is with the option that a note names.
    let rows: String = (0..60).map(|i| format!("{}.{:03};{}\n", i % 9 + 1, i, i % 2)).collect();
    let table = place.write("points.csv", &format!("price;y\n876;0\n{rows}"));
    let (said, _) = place.init(&[&table], &[]);
    assert!(said.contains("set thousands = \".\""), "{said}");
    let (said, recipe) = place.init(&[&table], &["--thousands", "."]);
    assert!(said.contains("1 column of numbers") && recipe.contains("thousands = \".\""), "{said}");
    place.train();
}

/// A title as spreadsheets write it, in batches and on a stream.
#[test]
fn a_padded_title_is_no_header() {
    let place = Place::new();
    let rows: String = (0..60).map(|i| format!("{}.5;{};{}\n", i % 7, i % 5, i % 2)).collect();
    let table = place.write("t.csv", &format!("Report 2024;;\n;;\nsize;age;kind\n{rows}"));
    let (said, recipe) = place.init(&[&table], &[]);
    assert!(said.contains("60 rows, 2 columns of numbers"), "{said}");
    assert!(recipe.contains("label = \"kind\""), "{recipe}");
    place.train();
    place.learn(&table, "60");
}

/// Rows that cannot be read are the cause that an error names.
#[test]
fn rows_in_another_encoding_are_named() {
    let place = Place::new();
    let table = place.path("latin.csv");
    let mut bytes = b"name,a,y\nx,1,0\n".to_vec();
    bytes.extend(b"M\xfcnchen,2,1\n".repeat(30));
    std::fs::write(&table, bytes).unwrap();
    let out = place.path("none.toml");
    let output = tidemill(&["init", &table, "--encoding", "utf-8", "--out", &out]);
    let error = stderr(&output);
    assert!(output.status.code() == Some(2), "{error}");
    assert!(error.contains("30 rows could not be read; line 3: column `name`: `M"), "{error}");
    assert!(error.contains("is not UTF-8"), "{error}");
}

#[test]
fn what_init_says_is_so() {
    let place = Place::new();
    // A table as long as what is looked at has no further rows.
    let all = "a,y\n".to_owned() + &"0.5,no\n0.25,yes\n0.75,no\n1.5,yes\n".repeat(250_000);
    let data = place.write("all.csv", &all);
    let (said, _) = place.init(&[&data], &[]);
    assert!(said.contains("1,000,000 rows, ") && !said.contains("there are more"), "{said}");
    let data = place.write("more.csv", &(all + "0.5,no\n"));
    let (said, _) = place.init(&[&data], &[]);
    assert!(said.contains("1,000,000 rows (there are more)"), "{said}");
    // A table of which nothing is left.
    let counted: String = (0..30).map(|i| format!("{i},,{}\n", ["no", "yes"][i % 2])).collect();
    let data = place.write("counted.csv", &("row,empty,y\n".to_owned() + &counted));
    let output = tidemill(&["init", &data, "--out", &place.path("none.toml")]);
    let says = stderr(&output);
    for part in ["counted.csv: no column is left", "`row` counts the rows", "`empty` is empty"] {
        assert!(output.status.code() == Some(2) && says.contains(part), "{says}");
    }
    // One unit has no other that it could be the same as.
    let values: String = (0..90).map(|i| format!("{},{}.5\n", i * i % 17, i * i % 34)).collect();
    let data = place.write("values.csv", &("a,y\n".to_owned() + &values));
    place.init(&[&data], &[]);
    let (recipe, out) = (place.path("recipe.toml"), place.path("run"));
    let train = ["train", &recipe, "--out", &out, "--set", "stop.steps=2"];
    let notes = stderr(&tidemill(&train)) + &succeed(&["doctor", &recipe]);
    assert!(!notes.contains("start the same"), "{notes}");
}
