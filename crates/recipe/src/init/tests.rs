use super::*;

/// A recipe for a file of this content.
fn drafted(name: &str, content: &str) -> (Drafted, String) {
    try_draft(name, content, None).unwrap()
}

fn try_draft(name: &str, content: &str, label: Option<&str>) -> Result<(Drafted, String)> {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join(name);
    std::fs::write(&data, content).unwrap();
    let out = folder.path().join("recipe.toml");
    let label = label.map(str::to_owned);
    let wanted = Init { data: vec![data], label, out: out.clone(), ..Init::default() };
    let drafted = init(&wanted)?;
    Ok((drafted, std::fs::read_to_string(out).unwrap()))
}

/// Rows of an id, a number, a colour, a sentence and a class.
fn rows(n: usize) -> String {
    let mut text = String::from("id,size,colour,note,class\n");
    for i in 0..n {
        let (colour, class) = (["red", "green", "blue"][i % 3], ["yes", "no"][i % 2]);
        text += &format!("{i},{}.5,{colour},\"note number {i} on it\",{class}\n", i * 7 % 13);
    }
    text
}

#[test]
fn a_table_has_its_columns_told_apart() {
    let (drafted, text) = drafted("data.csv", &rows(200));
    let file = RecipeFile::parse(&text, Path::new("recipe.toml"), &[]).unwrap();
    let recipe = file.recipe;
    assert_eq!(recipe.stream.label.as_deref(), Some("class"));
    assert_eq!(recipe.stream.ignore, ["id"]);
    assert_eq!(recipe.online.classes, Some(vec!["no".to_owned(), "yes".to_owned()]));
    // A number and its hats, three colours and one for others, 64 words.
    assert!(text.contains("features = 78"), "{text}");
    assert!(text.contains("hats   = { columns = 1 }"), "{text}");
    assert!(text.contains("tokens = [64]"), "{text}");
    assert!(drafted.found[0].contains("200 rows"), "{:?}", drafted.found);
    assert!(drafted.next[0].starts_with("tidemill learn "), "{:?}", drafted.next);
}

#[test]
fn numbers_are_predicted_as_values() {
    let mut text = String::from("a;b;price\n");
    for i in 0..100 {
        text += &format!("{};{};{}\n", i % 7, i * i % 31, i * 3 % 97);
    }
    let (_, text) = drafted("houses.csv", &text);
    assert!(text.contains("loss = \"huber\"") && text.contains("units = 1, kernel"), "{text}");
    assert!(text.contains("delimiter = \";\"") && text.contains("label = \"price\""), "{text}");
}

#[test]
fn values_get_a_linear_path_and_a_rate_for_their_rows() {
    let csv = |rows: usize, columns: usize| {
        let names: String = (0..columns).map(|c| format!("a{c},")).collect();
        let value = |i: usize, c: usize| format!("{},", i * (c + 3) % 101);
        let row = |i: usize| (0..columns).map(|c| value(i, c)).collect::<String>();
        let rows = (0..rows).map(|i| format!("{}{}\n", row(i), i * 3 % 97));
        names + "price\n" + &rows.collect::<String>()
    };
    let small = drafted_text(&csv(100, 3));
    assert!(small.contains("residual") && small.contains("clip = 5\n"), "{small}");
    assert!(small.contains("sgd = { learning_rate = { cosine = { start = 0.1 } } }"), "{small}");
    assert!(small.contains("[online]\nlearning_rate = 0.03\n"), "{small}");
    // Of many inputs each step is smaller.
    assert!(drafted_text(&csv(100, 70)).contains("start = 0.02 } }"));
    let large = drafted_text(&csv(2_500, 3));
    assert!(large.contains("residual") && large.contains("clip = 10\n"), "{large}");
    assert!(large.contains("rmsprop") && large.contains("learning_rate = 2e-3\n"), "{large}");
    let classes = drafted_text(&rows(100));
    assert!(!classes.contains("residual") && !classes.contains("clip"), "{classes}");
}

#[test]
fn headers_are_told_from_rows() {
    let mut named = String::from("0,1,target\n");
    let mut bare = String::new();
    for i in 0..60 {
        named += &format!("{},{},{}\n", i % 7, i % 11, i % 2);
        bare += &format!("{}\tsome words about number {i}\n", ["ham", "spam"][i % 2]);
    }
    let (_, text) = drafted("named.csv", &named);
    assert!(text.contains("header = true") && text.contains("label = \"target\""), "{text}");
    let (drafted, text) = try_draft("bare", &bare, Some("c1")).unwrap();
    assert!(text.contains("header = false") && text.contains("format = \"tsv\""), "{text}");
    assert!(drafted.found[0].contains("60 rows"), "{:?}", drafted.found);
    // A name that is also a value of its column.
    let mut spam = String::from("len,caps,spam\n");
    for i in 0..40 {
        spam += &format!("{},{},{}\n", i % 7, i % 3, ["ham", "spam"][i % 2]);
    }
    for label in [None, Some("spam")] {
        let (drafted, text) = try_draft("spam.csv", &spam, label).unwrap();
        assert!(drafted.found[0].contains("40 rows"), "{:?}", drafted.found);
        assert!(text.contains("header = true") && text.contains("label = \"spam\""), "{text}");
    }
    // Where the looks decide, nothing is said.
    assert!(!drafted_text(&rows(30)).contains("header ="));
}

fn drafted_text(csv: &str) -> String {
    drafted("t.csv", csv).1
}

#[test]
fn numbers_that_are_ids_are_rows_of_tables() {
    let mut csv = String::from("userId,size,rating\n");
    for i in 0..200 {
        csv += &format!("{},{},{}\n", i * 31 % 47, i % 5, i % 10);
    }
    let text = drafted_text(&csv);
    assert!(text.contains("categorical.userId = { embedding = { capacity = 68 } }"), "{text}");
    assert!(text.contains("vocabulary = [69], tokens = [1]"), "{text}");
}

#[test]
fn wide_tables_of_classes_get_a_linear_path() {
    let wide = |columns: usize| {
        let names: String = (0..columns).map(|c| format!("f{c},")).collect();
        let row = |i: usize| {
            let x: String = (0..columns).map(|c| format!("{}.5,", (i * 7 + c * 3) % 11)).collect();
            format!("{x}{}\n", i % 2)
        };
        drafted_text(&format!("{names}y\n{}", (0..100).map(row).collect::<String>()))
    };
    let text = wide(40);
    assert!(text.contains("shortcut = [{ dense = { units = 2, kernel_initializer"), "{text}");
    assert!(text.contains("sgd") && text.contains("[online]\nlearning_rate = 0.01\n"), "{text}");
    assert!(!wide(4).contains("shortcut"));
}

#[test]
fn classes_beyond_2_to_the_53_are_told_apart() {
    let rows = (0..40).map(|i| format!("{}.5,115292150460684697{}\n", i * 7 % 11, 6 + i % 2));
    let text = drafted_text(&("a,y\n".to_owned() + &rows.collect::<String>()));
    let classes = "classes = [\"1152921504606846976\", \"1152921504606846977\"]";
    assert!(text.contains(classes), "{text}");
}

/// Else a stray label of a stream would take the output of one of them.
#[test]
fn classes_that_count_from_0_are_named_too() {
    let rows = (0..40).map(|i| format!("{}.5,{}\n", i * 7 % 11, i % 2));
    let text = drafted_text(&("a,y\n".to_owned() + &rows.collect::<String>()));
    assert!(text.contains("classes = [\"0\", \"1\"]"), "{text}");
}

#[test]
fn keys_of_rows_are_left_out() {
    let mut csv = String::from("filmId,title,genre\n");
    for i in 0..100 {
        csv += &format!("{},the title of film {i},{}\n", i * 3, i % 2);
    }
    let text = drafted_text(&csv);
    assert!(text.contains("ignore = [\"filmId\"]") && !text.contains("leaky_relu"), "{text}");
    // Where there is nothing else they stay.
    let text = drafted_text(&csv.replace(",the title of film ", ","));
    assert!(text.contains("categorical.filmId"), "{text}");
}

#[test]
fn words_alone_get_a_linear_model_and_values_are_standardized() {
    let mut csv = String::from("note,price,class\n");
    let mut words = String::from("note,class\n");
    for i in 0..100 {
        csv += &format!("this is note number {i},{}.5,{}\n", i % 7, i * 37);
        words += &format!("this is note number {i},{}\n", i % 2);
    }
    let (_, text) = drafted("words.csv", &words);
    assert!(text.contains("units = 64 } }") && !text.contains("leaky_relu"), "{text}");
    assert!(text.contains("epochs     = 10\n") && !text.contains("scale_targets"), "{text}");
    let (_, text) = drafted("both.csv", &csv);
    assert!(text.contains("units = 16 } }") && text.contains("leaky_relu"), "{text}");
    assert!(text.contains("epochs     = 100\n") && text.contains("scale_targets = true"), "{text}");
    assert!(text.contains("patience = { epochs = 100, restore_best = true }"), "{text}");
    assert!(drafted_text(&rows(100)).contains("patience = { epochs = 33, restore"));
}

#[test]
fn formats_are_told_by_content_where_the_name_says_none() {
    let json: String =
        (0..50).map(|i| format!("{{\"x\": [{i}, 200], \"label\": {}}}\n", i % 3)).collect();
    let (_, text) = drafted("events", &json);
    assert!(text.contains("format = \"json_lines\"") && text.contains("features = 2"), "{text}");
    assert!(text.contains("vector_scale = 0.005"), "{text}");
    let vw: String = (0..50).map(|i| format!("{} |f a:{i} b\n", 1 - 2 * (i % 2))).collect();
    let (_, text) = drafted("events", &vw);
    assert!(text.contains("binary_crossentropy") && text.contains("format = \"vw\""), "{text}");
}

#[test]
fn a_folder_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    for (class, text) in [("ham", "see you at five"), ("spam", "win a prize now, win it")] {
        for i in 0..10 {
            let path = folder.path().join(format!("mails/{class}/{i}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    let (data, out) = (folder.path().join("mails"), folder.path().join("recipe.toml"));
    let wanted = Init { data: vec![data], out: out.clone(), ..Init::default() };
    let found = init(&wanted).unwrap().found;
    assert!(found[0].contains("20 texts of 2 classes (ham, spam)"), "{found:?}");
    let text = std::fs::read_to_string(out).unwrap();
    assert!(text.contains("length = 8, ") && text.contains("validation_split = 0.2"), "{text}");
}

#[test]
fn what_cannot_be_used_is_an_error() {
    let says = |name: &str, content: &str, label: Option<&str>, what: &str| {
        let error = try_draft(name, content, label).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    says("a.csv", "a,class\n1,x\n2,x\n", None, "the same in all rows");
    says("a.csv", "a,class\n1,x\n2,y\n", Some("b"), "no column `b`");
    says("a.csv", "", None, "has no row");
    says("notes", "hello\n", None, "nor a table");
    let nothing =
        Init { data: vec!["nowhere.csv".into()], out: "recipe.toml".into(), ..Init::default() };
    assert!(init(&nothing).unwrap_err().to_string().contains("no such file"));
}

#[test]
fn a_recipe_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("a.csv"), folder.path().join("recipe.toml"));
    std::fs::write(&data, rows(30)).unwrap();
    std::fs::write(&out, "mine").unwrap();
    let mut wanted = Init { data: vec![data], out: out.clone(), ..Init::default() };
    assert!(init(&wanted).unwrap_err().to_string().contains("exists already"));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    wanted.force = true;
    init(&wanted).unwrap();
    assert_ne!(std::fs::read_to_string(&out).unwrap(), "mine");
    // The data itself is never replaced.
    wanted.out = wanted.data[0].clone();
    assert!(init(&wanted).unwrap_err().to_string().contains("is the data"));
    assert_eq!(std::fs::read_to_string(&wanted.out).unwrap(), rows(30));
}

#[test]
fn a_large_table_has_a_recipe_for_batches_alone() {
    let of = |rows: usize, batch: bool| {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut csv = String::from("a,b,class\n");
        for i in 0..rows {
            csv += &format!("{}.5,{},c{}\n", i * 37 % 1000, i * 7 % 11, i % 3);
        }
        std::fs::write(folder.join("t.csv"), csv).unwrap();
        let out = folder.join("recipe.toml");
        let data = vec![folder.join("t.csv")];
        let wanted = Init { data, batch, out: out.clone(), ..Init::default() };
        let found = init(&wanted).unwrap().found.join(" ");
        (found, std::fs::read_to_string(out).unwrap())
    };
    let (found, text) = of(10_000, true);
    assert!(found.contains("A tenth of the rows") && !found.contains("--batch"), "{found}");
    for part in ["features = 28 }", "knots = 13", "units = 256", "ema = 0.99", "epochs     = 48"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (found, text) = of(10_000, false);
    assert!(found.contains("--batch gives it larger layers"), "{found}");
    assert!(text.contains("columns = 2 }") && text.contains("units = 64"), "{text}");
    let (found, _) = of(9_999, true);
    let why = "--batch changes nothing here: it is for tables of 10000 rows or more, and this one has 9999.";
    assert!(found.contains(why), "{found}");
    assert!(!of(9_999, false).0.contains("--batch"));
}
