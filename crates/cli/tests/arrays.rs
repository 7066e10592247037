//! Arrays of NumPy: labels have one meaning in a run, and `init` writes what fits them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::{stderr, succeed, text, tidemill};

/// Writes an array of this type (`<f8`, `<i8` or `|u1`).
fn save(folder: &Path, name: &str, kind: &str, dims: &str, values: &[f64]) {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    for v in values {
        match kind {
            "|u1" => file.push(*v as u8),
            "<i8" => file.extend((*v as i64).to_le_bytes()),
            _ => file.extend(v.to_le_bytes()),
        }
    }
    std::fs::write(folder.join(name), file).unwrap();
}

/// 200 samples of two numbers.
fn samples(folder: &Path) -> Vec<f64> {
    let x: Vec<f64> = (0..400).map(|i| f64::from(i * 37 % 101) / 50.0 - 1.0).collect();
    save(folder, "x.npy", "<f8", "200, 2", &x);
    x
}

#[test]
fn targets_of_validation_and_of_other_data_are_scaled_as_those_of_training() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let x = samples(folder);
    let y: Vec<f64> = x.chunks(2).map(|x| 1e6 + 100.0 * x[0]).collect();
    save(folder, "y.npy", "<f8", "200,", &y);
    // Other data, of another mean.
    let high: Vec<usize> = (0..200).filter(|i| x[2 * i] > 0.0).collect();
    let of_high = format!("{}, 2", high.len());
    save(
        folder,
        "hx.npy",
        "<f8",
        &of_high,
        &high.iter().flat_map(|i| [x[2 * i], x[2 * i + 1]]).collect::<Vec<_>>(),
    );
    save(
        folder,
        "hy.npy",
        "<f8",
        &format!("{},", high.len()),
        &high.iter().map(|&i| y[i]).collect::<Vec<_>>(),
    );
    let recipe = |data: &str, validation: &str| {
        let text = format!(
            "[model]\ninput = {{ features = 2 }}\nlayers = [{{ dense = {{ units = 1 }} }}]\n\
             [training]\nloss = \"mean_squared_error\"\nmetrics = [\"mae\"]\noptimizer = {{ adam = {{ learning_rate = 0.02 }} }}\n\
             [batch]\ndata = {{ numpy = {{ x = \"x.npy\", y = \"y.npy\"{data} }} }}\n\
             validation = {{ numpy = {{ x = \"hx.npy\", y = \"hy.npy\"{validation} }} }}\nbatch_size = 20\nepochs = 60\n"
        );
        let path = folder.join("recipe.toml");
        std::fs::write(&path, text).unwrap();
        text_of(&path)
    };
    let out = text_of(&folder.join("run"));
    let train = |recipe: &str| tidemill(&["train", recipe, "--out", &out, "--force"]);
    let mae = |printed: &str| -> f64 {
        let lower = printed.to_lowercase();
        let at = lower.rfind("mae").or(lower.rfind("mean absolute error"));
        let rest = &lower[at.unwrap_or_else(|| panic!("{printed}"))..];
        let number = rest.split(|c: char| !(c.is_ascii_digit() || ".e-".contains(c)));
        number.filter_map(|n| n.parse().ok()).next().unwrap_or_else(|| panic!("{printed}"))
    };
    let plain = train(&recipe(", scale_targets = true", ""));
    assert!(plain.status.success(), "{}", stderr(&plain));
    let (hx, hy) = (text_of(&folder.join("hx.npy")), text_of(&folder.join("hy.npy")));
    for printed in [succeed(&["eval", &out]), succeed(&["eval", &out, "--data", &hx, &hy])] {
        assert!(mae(&printed) < 20.0, "{printed}");
    }
    // The key that holds for both may be written for both.
    let both = train(&recipe(", scale_targets = true", ", scale_targets = true"));
    assert!(both.status.success(), "{}", stderr(&both));
    for (data, validation, key) in [
        ("", ", scale_targets = true", "scale_targets"),
        (", scale_targets = true", ", scale_targets = false", "scale_targets"),
        ("", ", labels = \"values\"", "labels"),
    ] {
        let error = stderr(&train(&recipe(data, validation)));
        let named = ["validation", "data"].map(|side| format!("batch.{side}.numpy.{key}"));
        assert!(named.iter().all(|name| error.contains(name)), "{error}");
    }
}

fn text_of(path: &Path) -> String {
    text(path).to_owned()
}

/// Classes that other data has as floats, as scikit-learn writes them, are those of the training data.
#[test]
fn labels_of_another_type_are_those_of_training() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let x = samples(folder);
    let y: Vec<f64> = x.chunks(2).map(|x| if x[0] > 0.0 { 1.0 } else { -1.0 }).collect();
    save(folder, "y.npy", "<i8", "200,", &y);
    save(folder, "vy.npy", "<f8", "200,", &y);
    save(folder, "half.npy", "<f8", "200,", &y.iter().map(|y| y / 2.0).collect::<Vec<_>>());
    let recipe = folder.join("recipe.toml");
    let body = "[model]\ninput = { features = 2 }\nlayers = [{ dense = { units = 2 } }]\n[training]\n\
                loss = \"sparse_categorical_crossentropy\"\noptimizer = { adam = { learning_rate = 0.1 } }\n\
                [batch]\ndata = { numpy = { x = \"x.npy\", y = \"y.npy\" } }\n\
                validation = { numpy = { x = \"x.npy\", y = \"vy.npy\" } }\nbatch_size = 20\nepochs = 30\n";
    std::fs::write(&recipe, body).unwrap();
    let run = folder.join("run");
    succeed(&["train", text(&recipe), "--out", text(&run)]);
    let paths = ["x.npy", "vy.npy", "half.npy"].map(|name| text_of(&folder.join(name)));
    let figures = succeed(&["eval", text(&run)]);
    assert_eq!(succeed(&["eval", text(&run), "--data", &paths[0], &paths[1]]), figures);
    let accuracy = figures.lines().find(|line| line.contains("accuracy")).unwrap();
    assert!(accuracy.contains("9") || accuracy.contains("100.00 %"), "{figures}");
    let wrong = tidemill(&["eval", text(&run), "--data", &paths[0], &paths[2]]);
    assert!(
        stderr(&wrong).contains("which is no class; those of the training data are"),
        "{wrong:?}"
    );
}

/// Bytes are multiplied by 1/255, and other types are not: one run has one of them.
#[test]
fn samples_of_another_type_than_those_of_training_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let x: Vec<f64> = (0..400).map(|i| f64::from(i * 37 % 256)).collect();
    let y: Vec<f64> = x.chunks(2).map(|x| f64::from(u8::from(x[0] > 128.0))).collect();
    for (name, kind) in [("u.npy", "|u1"), ("i.npy", "<i8"), ("f.npy", "<f8")] {
        save(folder, name, kind, "200, 2", &x);
    }
    save(folder, "y.npy", "<i8", "200,", &y);
    let (recipe, run) = (folder.join("recipe.toml"), folder.join("run"));
    let train = |x: &str, other: &str| {
        let body = format!(
            "[model]\ninput = {{ features = 2 }}\nlayers = [{{ dense = {{ units = 2 }} }}]\n[training]\n\
             loss = \"sparse_categorical_crossentropy\"\noptimizer = {{ adam = {{ learning_rate = 0.1 }} }}\n\
             [batch]\ndata = {{ numpy = {{ x = \"{x}\", y = \"y.npy\" }} }}\n\
             validation = {{ numpy = {{ x = \"{other}\", y = \"y.npy\" }} }}\nbatch_size = 20\nepochs = 2\n"
        );
        std::fs::write(&recipe, body).unwrap();
        tidemill(&["train", text(&recipe), "--out", text(&run), "--force"])
    };
    for (x, other, of, named) in [
        ("u.npy", "f.npy", "uint8", "float64"),
        ("u.npy", "i.npy", "uint8", "int64"),
        ("f.npy", "u.npy", "float64", "uint8"),
    ] {
        let error = stderr(&train(x, other));
        assert!(error.contains(other) && error.contains("1/255"), "{error}");
        assert!(error.contains(&format!("of the type {named}")), "{error}");
        assert!(error.contains(&format!("training data are {of}")), "{error}");
    }
    assert!(train("f.npy", "i.npy").status.success());
    assert!(train("u.npy", "u.npy").status.success());
    let paths = ["f.npy", "u.npy", "y.npy"].map(|name| text_of(&folder.join(name)));
    let [floats, bytes, labels] = &paths;
    for wrong in [
        tidemill(&["eval", text(&run), "--data", floats, labels]),
        tidemill(&["predict", text(&run), "--data", floats]),
    ] {
        assert!(stderr(&wrong).contains("of the training data are uint8"), "{wrong:?}");
    }
    let figures = succeed(&["eval", text(&run)]);
    assert_eq!(succeed(&["eval", text(&run), "--data", bytes, labels]), figures);
    succeed(&["predict", text(&run), "--data", bytes]);
}

#[test]
fn init_says_what_labels_are() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let x = samples(folder);
    let init = |y: &str| {
        let paths = ["x.npy", y, "recipe.toml"].map(|name| text_of(&folder.join(name)));
        let said = succeed(&["init", &paths[0], &paths[1], "--out", &paths[2], "--force"]);
        (said, std::fs::read_to_string(&paths[2]).unwrap())
    };
    let sets: Vec<f64> = x
        .chunks(2)
        .flat_map(|x| [x[0] > 0.0, x[1] > 0.3, x[0] > x[1]])
        .map(|is| f64::from(u8::from(is)))
        .collect();
    save(folder, "sets.npy", "<i8", "200, 3", &sets);
    let (said, recipe) = init("sets.npy");
    assert!(said.contains("200 samples of 2 numbers, with any number of 3 classes"), "{said}");
    assert!(
        recipe.contains("binary_crossentropy") && recipe.contains("subset_accuracy"),
        "{recipe}"
    );
    let (recipe, out) = (text_of(&folder.join("recipe.toml")), text_of(&folder.join("run")));
    succeed(&["train", &recipe, "--out", &out, "--set", "batch.epochs=1"]);
    // Rows of exactly one 1 are one class each.
    let one_hot = x.chunks(2).flat_map(|x| if x[0] > 0.0 { [1.0, 0.0] } else { [0.0, 1.0] });
    save(folder, "one.npy", "<f8", "200, 2", &one_hot.collect::<Vec<_>>());
    let (said, recipe) = init("one.npy");
    assert!(said.contains("with 2 classes as one-hot rows"), "{said}");
    assert!(said.contains("Each row of labels has exactly one 1"), "{said}");
    assert!(recipe.contains("\"categorical_crossentropy\""), "{recipe}");
    let (recipe, out) = (text_of(&folder.join("recipe.toml")), text_of(&folder.join("one")));
    succeed(&["train", &recipe, "--out", &out]);
    // In no array may a row be of several classes: the one that is measured on is checked too.
    let mut rows = [0.0, 1.0].repeat(200);
    rows[14] = 1.0;
    save(folder, "odd.npy", "<i8", "200, 2", &rows);
    let wrong = format!(
        "batch.validation={{numpy={{x='{}',y='{}'}}}}",
        text(&folder.join("x.npy")),
        text(&folder.join("odd.npy"))
    );
    let (x_path, odd) = (text_of(&folder.join("x.npy")), text_of(&folder.join("odd.npy")));
    for refused in [
        tidemill(&["train", &recipe, "--out", &out, "--force", "--set", &wrong]),
        tidemill(&["eval", &out, "--data", &x_path, &odd]),
    ] {
        let says = stderr(&refused);
        assert!(says.contains("targets whose sum is 2") && says.contains('7'), "{says}");
    }
    save(folder, "two.npy", "<f8", "200, 2", &x.iter().map(|v| 1e6 + v).collect::<Vec<_>>());
    let (said, _) = init("two.npy");
    assert!(said.contains("with 2 targets") && said.contains("divide them in NumPy"), "{said}");
    // Classes are floats where all arrays are.
    let few: Vec<f64> = x.chunks(2).map(|x| f64::from(u8::from(x[0] > 0.0))).collect();
    save(folder, "few.npy", "<f8", "200,", &few);
    let (said, recipe) = init("few.npy");
    assert!(said.contains("with 2 classes") && said.contains("whole numbers as floats"), "{said}");
    assert!(recipe.contains("labels = \"class\"") && recipe.contains("sparse_cat"), "{recipe}");
    let (recipe, out) = (text_of(&folder.join("recipe.toml")), text_of(&folder.join("few")));
    succeed(&["train", &recipe, "--out", &out, "--set", "batch.epochs=1"]);
    let other = wrong.replace("odd.npy", "one.npy");
    let says = stderr(&tidemill(&["train", &recipe, "--out", &out, "--force", "--set", &other]));
    assert!(says.contains("rows of 2 labels, where the number of a class is expected"), "{says}");
    save(folder, "many.npy", "<i8", "200,", &(0..200).map(f64::from).collect::<Vec<_>>());
    let (said, _) = init("many.npy");
    assert!(said.contains("labels = \"values\""), "{said}");
}
