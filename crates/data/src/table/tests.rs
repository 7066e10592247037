use std::path::PathBuf;

use tidemill_table::{Categorical, Encoding, Format, Known};

use super::*;
use crate::images::{Share, Subset};
use crate::{Dataset, Error, LabelKind, Normalize, Result, Truth};

fn read(text: &str, edit: impl FnOnce(&mut TableSpec)) -> Result<TableDataset> {
    read_like(text, edit, None)
}

fn read_like(
    text: &str,
    edit: impl FnOnce(&mut TableSpec),
    known: Option<&Known>,
) -> Result<TableDataset> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut spec = TableSpec::new("t.csv");
    spec.label = Some("y".into());
    // Small enough to write down.
    spec.context.features.text = Categorical::Dictionary { capacity: 2 };
    edit(&mut spec);
    spec.open(&|_| file.path().to_owned(), known).map_err(|e| match e {
        Error::Row { line, what, .. } => Error::Row { path: "t.csv".into(), line, what },
        Error::Format { what, .. } => Error::Format { path: "t.csv".into(), what },
        other => other,
    })
}

fn plain(spec: &mut TableSpec) {
    spec.standardize = Some(false);
}

/// The label of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Label {
    Class(u32),
    Values,
    None,
}

fn label(data: &TableDataset, i: usize) -> Label {
    match data.read(i).unwrap().truth(0) {
        Truth::Class(class) => Label::Class(class as u32),
        Truth::Values(_) => Label::Values,
        _ => Label::None,
    }
}

fn rows(data: &TableDataset) -> Vec<(Vec<f32>, Label)> {
    let one = |i| {
        let row = data.read(i).unwrap();
        let mut x = row.x().to_vec();
        if let Truth::Values(targets) = row.truth(0) {
            x.extend(targets);
        }
        (x, label(data, i))
    };
    (0..data.len()).map(one).collect()
}

/// How much each sample counts.
fn weights(data: &TableDataset) -> Vec<f32> {
    (0..data.len()).map(|i| data.read(i).unwrap().weights[0]).collect()
}

const PEOPLE: &str = "age,city,y\n30, Rome ,no\n40,\"Oslo, N\",yes\n50,Rome,yes\n";

#[test]
fn numbers_categories_and_classes() {
    let data = read(PEOPLE, plain).unwrap();
    let want = [
        (vec![30.0, 0.0, 1.0, 0.0], Label::Class(0)),
        (vec![40.0, 0.0, 0.0, 1.0], Label::Class(1)),
        (vec![50.0, 0.0, 1.0, 0.0], Label::Class(1)),
    ];
    assert_eq!(rows(&data), want);
    assert_eq!(data.class_names(), ["no", "yes"]);
    assert_eq!((data.describe(1), data.sample_shape()), ("t.csv:3".into(), vec![4]));
    let names = data.known().unwrap().encoder.as_ref().unwrap().names();
    assert_eq!(names, ["age", "city is another", "city=Rome", "city=Oslo, N"]);
    assert!(data.notes().is_empty() && weights(&data) == [1.0; 3]);
}

#[test]
fn columns_are_chosen_by_name_or_place() {
    let data = read(PEOPLE, |s| s.features = Some(vec!["age".into()])).unwrap();
    assert_eq!(data.sample_len(), 1);
    let data = read(PEOPLE, |s| s.exclude = vec![0.into()]).unwrap();
    assert_eq!(rows(&data)[0].0, [0.0, 1.0, 0.0]);
    let data = read(PEOPLE, |s| s.label = Some((-1).into())).unwrap();
    assert_eq!(data.num_classes(), Some(2));
    let data = read(PEOPLE, |s| s.label = None).unwrap();
    assert_eq!(data.num_classes(), Some(2), "y is a label's name");
    let data = read("1;2\n3;4\n", |s| {
        plain(s);
        (s.delimiter, s.label) = (Some(';'), Some(1.into()));
    })
    .unwrap();
    assert_eq!(rows(&data)[1], (vec![3.0], Label::Class(1)));
    assert_eq!(data.class_names(), ["2", "4"]);
    let data = read("n,y\n1,a\n", |s| (s.header, s.label) = (Some(false), Some("c2".into())));
    assert_eq!(data.unwrap().len(), 2);
}

#[test]
fn wrong_columns_are_told() {
    let fails = |edit: fn(&mut TableSpec)| read(PEOPLE, edit).unwrap_err().to_string();
    assert!(fails(|s| s.label = Some("z".into())).contains("the columns are age, city, y"));
    assert!(fails(|s| s.label = Some(3.into())).contains("no column 3; the table has 3"));
    assert!(fails(|s| s.header = Some(false)).contains("no column \"y\"; the columns are c1"));
    assert!(fails(|s| s.features = Some(vec!["y".into()])).contains("label's column"));
    assert!(fails(|s| s.exclude = vec!["age".into(), 1.into()]).contains("no feature columns"));
    assert!(fails(|s| s.delimiter = Some('\u{20ac}')).contains("csv.delimiter must be one ASCII"));
    assert!(fails(|s| s.one_hot = Some(false)).contains("one_hot = false"));
    let unnamed = |s: &mut TableSpec| s.label = None;
    let error = read("a,b\n1,2\n", unnamed).unwrap_err().to_string();
    assert!(error.contains("which column is the label?"), "{error}");
    assert!(read("", |_| {}).unwrap_err().to_string().contains("is empty"));
    assert!(read("a,y\n", |_| {}).unwrap_err().to_string().contains("no usable rows"));
    assert_eq!(read("a,a,y\n1,2,3\n", |_| {}).unwrap().sample_len(), 2);
    let doubled = |s: &mut TableSpec| s.exclude = vec!["a".into()];
    let error = read("a,a,y\n1,2,3\n", doubled).unwrap_err().to_string();
    assert!(error.contains("two columns are called \"a\"; give the place"), "{error}");
    let sparse = |s: &mut TableSpec| (s.format, s.label) = (Some(Format::Libsvm), None);
    let error = read("1 2:3\n", sparse);
    assert!(error.unwrap_err().to_string().contains("a network does not take"));
}

#[test]
fn forced_categories_are_their_text() {
    let data = read("n,y\n010,a\n9,b\n10,a\n", |s| s.categorical = vec![0.into()]).unwrap();
    let x: Vec<_> = rows(&data).into_iter().map(|r| r.0).collect();
    assert_eq!(x, [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
}

#[test]
fn regression_targets() {
    let value = |s: &mut TableSpec| s.label_type = Some(LabelType::Value);
    let data = read("x,y\n1,0.5\n3,1.5\n", value).unwrap();
    assert_eq!(rows(&data)[1], (vec![1.0, 1.5], Label::Values));
    // What the loss compares with decides where nothing is said.
    let data = read("x,y\n1,0.5\n3,1.5\n", |s| s.context.values = true).unwrap();
    assert_eq!(data.label_kind(), LabelKind::Values { len: 1 });
    let error = read("x,y\n1,a\n", value).unwrap_err().to_string();
    assert!(error.starts_with("t.csv:2: label `y`: label `a` is no finite number"), "{error}");
}

#[test]
fn missing_values_by_policy() {
    let text = "x,c,y\n1,u,a\n?,u,b\n3,,b\n4,v,\n5,v,a\n";
    let data = read(text, |_| {}).unwrap();
    assert_eq!((data.len(), data.num_skipped()), (4, 1));
    assert_eq!(data.notes(), ["2 of 4 rows lack values (x: 1, c: 1)"]);
    let x: Vec<_> = rows(&data).into_iter().map(|r| r.0).collect();
    assert_eq!((x[1][0], &x[2][1..]), (0.0, &[0.0; 3][..]));
    assert!(data.skipped_examples()[0].contains(":5: the label `y` is missing"));
    let error = read(text, |s| s.missing = Missing::Fail).unwrap_err().to_string();
    assert!(error.starts_with("t.csv:3: column `x` is missing"), "{error}");
    let data = read(text, |s| s.missing = Missing::Skip).unwrap();
    assert_eq!((data.len(), data.num_skipped()), (2, 3));
    let data = read(text, |s| (s.missing, s.standardize) = (Missing::Fill(-1.0), Some(false)));
    let x: Vec<_> = rows(&data.unwrap()).into_iter().map(|r| r.0[0]).collect();
    assert_eq!(x, [1.0, -1.0, 3.0, 5.0]);
    // Not for ever: what stands for it can be said, also a number.
    let data = read(text, |s| s.missing_values = Some(vec!["?".into(), "5".into()])).unwrap();
    assert_eq!(data.notes(), ["2 of 5 rows lack values (x: 2)"]);
}

#[test]
fn bad_rows_by_policy() {
    let mut text = "x,y\n".to_owned();
    for i in 0..30 {
        text.push_str(&format!("{i},a\n"));
    }
    text.push_str("oops,a\n1,a,extra\ninf,b\n7,b\n");
    let error = read(&text, |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("t.csv:33: the row has 3 fields, expected 2"), "{error}");
    let data = read(&text, |s| s.bad_rows = BadRows::Skip).unwrap();
    assert_eq!((data.len(), data.num_skipped()), (33, 1));
    assert!(data.skipped_examples()[0].ends_with(":33: the row has 3 fields, expected 2"));
}

#[test]
fn what_is_no_number_in_a_column_of_numbers_is_missing() {
    let rows: String = (0..30).map(|i| format!("{i},a\n")).collect();
    let text = format!("x,y\n{rows}oops,a\n1,a\ninf,b\n7,b\n");
    let data = read(&text, |_| {}).unwrap();
    assert_eq!((data.len(), data.num_skipped()), (34, 0));
    let note = "column `x`: 2 values are no number and missing, the first `oops` in line 32";
    assert_eq!(data.notes(), [note]);
    // So it is in another file of the run.
    let other = read_like("x,y\n1,a\nn.b.,b\n", |_| {}, data.known()).unwrap();
    let note = "column `x`: 1 value is no number and missing, the first `n.b.` in line 3";
    assert_eq!((other.len(), other.notes()), (2, vec![note.to_owned()]));
    let error = read(&text, |s| s.missing = Missing::Fail).unwrap_err().to_string();
    assert!(error.starts_with("t.csv:32: column `x`: `oops` is no number"), "{error}");
    let data = read(&text, |s| s.missing = Missing::Skip).unwrap();
    assert_eq!((data.len(), data.num_skipped()), (32, 2));
}

#[test]
fn another_file_is_read_alike() {
    let train = read(PEOPLE, |_| {}).unwrap();
    let known = train.known();
    // Other order of columns, a class and a city that do not occur, one that is new.
    let data = read_like("y,city,age\nyes,Rome,40\nyes,Paris,\n", |_| {}, known).unwrap();
    let want =
        [(vec![0.0, 0.0, 1.0, 0.0], Label::Class(1)), (vec![0.0, 1.0, 0.0, 0.0], Label::Class(1))];
    assert_eq!(rows(&data), want);
    assert_eq!(data.num_classes(), Some(2));
    let error = read_like("y,city\nyes,Rome\n", |_| {}, known).unwrap_err().to_string();
    assert!(error.contains("no column `age`, which the model was made with"), "{error}");
    let error = read_like("y,city,age\nmaybe,Rome,1\n", |_| {}, known).unwrap_err().to_string();
    let what = "label `y`: 1 of 1 rows have classes that the model does not have: `maybe` (line 2); it has no, yes";
    assert!(error.contains(what), "{error}");
    let many = "y,city,age\nmaybe,Rome,1\nno,Rome,1\nmaybe,Rome,2\nyess,Rome,1\n";
    let error = read_like(many, |_| {}, known).unwrap_err().to_string();
    let what = "3 of 4 rows have classes that the model does not have: `maybe` (2 rows, the first in line 2), `yess` (line 5)";
    assert!(error.contains(what), "{error}");
    let skipped = read_like(many, |s| s.bad_rows = BadRows::Skip, known).unwrap();
    assert_eq!((skipped.len(), skipped.num_skipped()), (1, 3));
    // To predict: the label may be there or not, and be anything.
    for text in ["city,age\nRome,40\n", "y,city,age\n,Rome,40\n"] {
        let data = read_like(text, |s| s.context.unlabelled = true, known).unwrap();
        assert_eq!(rows(&data), [(vec![0.0, 0.0, 1.0, 0.0], Label::None)]);
    }
    let data = read_like("city,age\nRome,40\n", |_| {}, known).unwrap();
    assert_eq!(data.label_kind(), LabelKind::None);
    // Rows as JSON have the same columns.
    let json = "{\"age\": 40, \"city\": \"Rome\", \"y\": \"no\", \"more\": 1}\n";
    let json = read_like(json, |s| s.format = Some(Format::JsonLines), known);
    assert_eq!(rows(&json.unwrap()), [(vec![0.0, 0.0, 1.0, 0.0], Label::Class(0))]);
}

#[test]
fn classes_may_have_other_names_in_another_file() {
    let train = read(PEOPLE, |_| {}).unwrap();
    let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let text = "age,city,y\n1,Rome,yes.\n";
    let renamed = |s: &mut TableSpec| s.class_names = names(&["no.", "yes."]);
    let data = read_like(text, renamed, train.known()).unwrap();
    assert_eq!((label(&data, 0), data.class_names()), (Label::Class(1), train.class_names()));
    // The same names in any order are no other names.
    let same = |s: &mut TableSpec| s.class_names = names(&["yes", "no"]);
    let data = read_like("age,city,y\n1,Rome,yes\n", same, train.known()).unwrap();
    assert_eq!(label(&data, 0), Label::Class(1));
    let wrong = |s: &mut TableSpec| s.class_names = names(&["no.", "yes.", "perhaps."]);
    let error = read_like(text, wrong, train.known()).unwrap_err().to_string();
    assert!(error.contains("class_names has 3 names, and the training data 2"), "{error}");
}

#[test]
fn a_label_column_may_be_cut_out_of_a_file_without_header() {
    let train = read("1,a,2\n3,b,4\n", |s| (plain(s), s.label = Some(1.into())).0).unwrap();
    let unlabelled = |s: &mut TableSpec| (s.label, s.context.unlabelled) = (None, true);
    let data = read_like("5,6\n", unlabelled, train.known()).unwrap();
    assert_eq!(rows(&data), [(vec![5.0, 6.0], Label::None)]);
    assert!(read_like("5\n", unlabelled, train.known()).is_err());
    assert!(read("5,6\n", unlabelled).unwrap_err().to_string().contains("nothing is known"));
}

#[test]
fn standardized_columns_have_mean_0_and_deviation_1() {
    let data = read("x,k,y\n1,5,a\n2,5,a\n3,5,b\n", |_| {}).unwrap();
    let x: Vec<f32> = rows(&data).iter().map(|r| r.0[0]).collect();
    assert!((x[0] + 1.224_745).abs() < 1e-5 && x[1] == 0.0 && (x[2] - 1.224_745).abs() < 1e-5);
    assert!(rows(&data).iter().all(|r| r.0[1] == 0.0));
}

#[test]
fn normalize_is_the_same_for_all_columns() {
    let normalize = |n: Normalize| move |s: &mut TableSpec| s.normalize = Some(n);
    let one = Normalize { scale: Some(0.1), mean: vec![1.0], std: vec![0.5] };
    let data = read("a,b,y\n10,20,u\n", normalize(one.clone())).unwrap();
    let x = &rows(&data)[0].0;
    assert!(x[0].abs() < 1e-6 && (x[1] - 2.0).abs() < 1e-6, "{x:?}");
    let two = Normalize { mean: vec![1.0, 2.0], ..one.clone() };
    let error = read("a,b,y\n1,2,u\n", normalize(two)).unwrap_err().to_string();
    assert!(error.contains("takes one for all columns"), "{error}");
    let both = |s: &mut TableSpec| (s.normalize, s.standardize) = (Some(one.clone()), Some(true));
    assert!(read("a,b,y\n1,2,u\n", both).unwrap_err().to_string().contains("exclude each other"));
}

#[test]
fn limit_and_class_names() {
    let data = read(PEOPLE, |s| s.limit = Some(2)).unwrap();
    assert_eq!(data.len(), 2);
    let names = vec!["yes".to_owned(), "no".to_owned(), "maybe".to_owned()];
    let data = read(PEOPLE, |s| s.class_names = names.clone()).unwrap();
    assert_eq!((label(&data, 0), data.num_classes()), (Label::Class(1), Some(3)));
    let error = read(PEOPLE, |s| s.class_names = names[..1].to_vec()).unwrap_err().to_string();
    assert!(error.contains("`no` (line "), "{error}");
    // Numbers are the same class however they are written.
    let numbers = |s: &mut TableSpec| s.class_names = vec!["2.0".into(), "1.0".into()];
    let data = read("x,y\n0,1\n0,2.0\n", numbers).unwrap();
    assert_eq!(
        (data.class_names(), label(&data, 0)),
        (&["2".into(), "1".into()][..], Label::Class(1))
    );
}

/// What is learned of columns and targets is that of the training rows, on whichever side.
#[test]
fn a_split_table_is_learned_from_its_training_rows() {
    let numbers: Vec<f64> = (0..40).map(|i| f64::from(i * i)).collect();
    let text: String =
        numbers.iter().enumerate().map(|(i, v)| format!("{v},t{i},{}\n", 2.0 * v)).collect();
    let side = |subset: Option<Subset>, more: &dyn Fn(&mut TableSpec)| {
        read(&format!("x,kind,y\n{text}"), |s| {
            (s.validation_split, s.subset, s.seed) =
                (subset.map(|_| Share::Fraction(0.25)), subset, 3);
            s.label_type = Some(LabelType::Value);
            s.scale_targets = true;
            more(s);
        })
        .unwrap()
    };
    let learned = |data: &TableDataset| {
        let known = data.known().unwrap().clone();
        let encoder = format!("{:?}", known.encoder);
        // Without what has no order.
        let numbers = encoder.split("categories").next().unwrap().to_owned();
        (numbers, known.labels.unwrap().scaling().unwrap())
    };
    let all = side(None, &|_| ());
    let train = side(Some(Subset::Training), &|_| ());
    assert_eq!(train.len(), 40, "the caller takes the side");
    let kept = crate::images::split::split(40, 0.25, 3, false);
    let mean = kept.iter().map(|&i| 2.0 * numbers[i as usize]).sum::<f64>() / 30.0;
    assert!((learned(&train).1.0 - mean).abs() < 1e-9, "{:?} {mean}", learned(&train).1);
    let sum: f32 = kept.iter().map(|&i| rows(&train)[i as usize].0[0]).sum();
    assert!(sum.abs() < 1e-4, "{sum}");
    assert_ne!(learned(&train), learned(&all));
    assert_eq!(learned(&side(Some(Subset::Validation), &|_| ())), learned(&train));
    // Texts that only validation has are no categories, and so all the same.
    let wide = |s: &mut TableSpec| {
        let all = &mut s.context.features.categorical;
        all.insert("kind".into(), Categorical::Dictionary { capacity: 40 });
    };
    let others: Vec<usize> = (0..40).filter(|i| !kept.contains(&(*i as u32))).take(2).collect();
    let differ = |data: &TableDataset| {
        let kind = |i: usize| rows(data)[others[i]].0.split_last().unwrap().1[1..].to_vec();
        kind(0) != kind(1)
    };
    assert!(differ(&side(None, &wide)) && !differ(&side(Some(Subset::Training), &wide)));
}

#[test]
fn line_ends_within_quotes_and_weights() {
    let text = "x,note,w,y\n1,\"a\nb\",2,p\n3,c,0.5,q\n";
    let weight = |s: &mut TableSpec| s.context.stream.weight = Some("w".into());
    let data = read(text, weight).unwrap();
    assert_eq!((data.describe(0), data.describe(1)), ("t.csv:2".into(), "t.csv:4".into()));
    assert_eq!((data.sample_len(), weights(&data)), (4, vec![2.0, 0.5]));
}

#[test]
fn ids_and_words_are_rows_of_embeddings() {
    let text = "user,text,y\nu1,a b,p\nu2,a,q\nu1,c,p\n";
    let data = read(text, |s| {
        let how = [
            ("user", Categorical::Embedding { capacity: 9, min_count: 2, expiry: None }),
            ("text", Categorical::Words { buckets: 100, most: 3 }),
        ];
        let all = &mut s.context.features.categorical;
        all.extend(how.map(|(name, how)| (name.to_owned(), how)));
    })
    .unwrap();
    let x: Vec<_> = rows(&data).into_iter().map(|r| r.0).collect();
    assert_eq!([x[0][0], x[1][0], x[2][0]], [1.0, 0.0, 1.0]);
    assert_eq!((x[0][1], x[0][3], x[1][2]), (x[1][1], 0.0, 0.0));
    assert!(data.bytes() < 100);
}

#[test]
fn text_that_is_not_utf8_is_latin_1_or_a_bad_row() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"x,y\na,u\n\xff,u\n").unwrap();
    let path: PathBuf = file.path().to_owned();
    let mut spec = TableSpec::new("t.csv");
    let notes = spec.open(&|_| path.clone(), None).unwrap().notes();
    assert!(notes[0].contains("not UTF-8 were read as Windows-1252"), "{notes:?}");
    spec.encoding = Some(Encoding::Utf8);
    let error = spec.open(&|_| path.clone(), None).unwrap_err().to_string();
    assert!(error.contains(":3: column `x`: `\u{fffd}` is not UTF-8"), "{error}");
    spec.bad_rows = BadRows::Skip;
    assert_eq!(spec.open(&|_| path.clone(), None).unwrap().len(), 1);
}

/// Rows of a group are all on one side, the column is no input, and what is learned is that of the training rows.
#[test]
fn a_split_by_group_keeps_groups_together() {
    let text: String = (0..60).map(|i| format!("{i},{},p{}\n", i % 2, i * 7 % 12)).collect();
    let text = format!("x,y,patient\n{text}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let path = file.path().to_owned();
    let open = |share: Share, subset: Subset, more: &dyn Fn(&mut TableSpec)| {
        let mut spec = TableSpec::new("t.csv");
        spec.label = Some("y".into());
        (spec.validation_split, spec.subset) = (Some(share), Some(subset));
        spec.group = Some("patient".into());
        more(&mut spec);
        crate::DataSpec::Csv(spec).open(&|_| path.clone(), crate::InputSpec::Any)
    };
    let patients = |data: &dyn Dataset| -> std::collections::BTreeSet<usize> {
        let line =
            |i: usize| data.describe(i).rsplit(':').next().unwrap().parse::<usize>().unwrap();
        (0..data.len()).map(|i| (line(i) - 2) * 7 % 12).collect()
    };
    let share = Share::Fraction(0.25);
    let train = open(share, Subset::Training, &|_| ()).unwrap();
    let held_out = open(share, Subset::Validation, &|_| ()).unwrap();
    assert_eq!((train.len(), held_out.len(), train.sample_len()), (45, 15, 1));
    assert!(patients(train.as_ref()).is_disjoint(&patients(held_out.as_ref())));
    let sum: f32 = (0..45).map(|i| train.read(i).unwrap().columns[0].f32()[0]).sum();
    assert!(sum.abs() < 1e-4, "standardized by the training rows: {sum}");
    // By the place of the column, the same; with another seed, others.
    let by_place = open(share, Subset::Validation, &|s| s.group = Some((-1).into())).unwrap();
    assert_eq!(patients(by_place.as_ref()), patients(held_out.as_ref()));
    let mut seeds = (1..9).map(|seed| open(share, Subset::Validation, &|s| s.seed = seed).unwrap());
    assert!(seeds.any(|other| patients(other.as_ref()) != patients(held_out.as_ref())));
    let mut all = Vec::new();
    for number in 1..=3 {
        let fold = Share::Fold(crate::images::Fold { number, of: 3 });
        all.extend(patients(open(fold, Subset::Validation, &|_| ()).unwrap().as_ref()));
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..12));

    let error = |more: &dyn Fn(&mut TableSpec)| {
        open(share, Subset::Training, more).err().unwrap().to_string()
    };
    let none = error(&|s| (s.validation_split, s.subset) = (None, None));
    assert!(none.contains("group needs validation_split"), "{none}");
    let unknown = error(&|s| s.group = Some("who".into()));
    assert!(
        unknown.contains("group: there is no column \"who\"; the columns are x, y"),
        "{unknown}"
    );
    assert!(error(&|s| s.group = Some("y".into())).contains("is the label's column"));
    let both = error(&|s| s.features = Some(vec!["x".into(), "patient".into()]));
    assert!(both.contains("features has too"), "{both}");
    let folds = error(&|s| {
        s.validation_split = Some(Share::Fold(crate::images::Fold { number: 1, of: 20 }));
    });
    assert!(folds.contains("\"1/20\" by group finds 12 groups, too few for 20 folds"), "{folds}");

    // A row without a group is left out and counted, as one without a label.
    std::fs::write(&path, text.replacen(",p7\n", ",\n", 1)).unwrap();
    let (train, held_out) = (
        open(share, Subset::Training, &|_| ()).unwrap(),
        open(share, Subset::Validation, &|_| ()).unwrap(),
    );
    assert_eq!((train.len() + held_out.len(), train.num_skipped()), (59, 1));
    let why = train.skipped_examples().join("");
    assert!(why.contains(":3: the group is missing"), "{why}");
    let fails = error(&|s| s.missing = Missing::Fail);
    assert!(fails.contains("the group is missing"), "{fails}");
}
