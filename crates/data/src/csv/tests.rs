use super::*;
use crate::{Dataset, Error, LabelKind, MemoryDataset, Result, Truth};
use std::path::PathBuf;

fn read(text: &str, edit: impl FnOnce(&mut CsvSpec)) -> Result<MemoryDataset> {
    read_like(text, edit, None)
}

fn read_like(
    text: &str,
    edit: impl FnOnce(&mut CsvSpec),
    like: Option<&CsvSchema>,
) -> Result<MemoryDataset> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut spec = CsvSpec::new("t.csv");
    spec.label = Some("y".into());
    edit(&mut spec);
    spec.open(&|_| file.path().to_owned(), like).map_err(|e| match e {
        Error::Row { line, what, .. } => Error::Row { path: "t.csv".into(), line, what },
        Error::Format { what, .. } => Error::Format { path: "t.csv".into(), what },
        other => other,
    })
}

/// The label of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Label {
    Class(u32),
    Values,
    None,
}

fn label(data: &MemoryDataset, i: usize) -> Label {
    match data.read(i).unwrap().truth(0) {
        Truth::Class(class) => Label::Class(class as u32),
        Truth::Values(_) => Label::Values,
        _ => Label::None,
    }
}

fn rows(data: &MemoryDataset) -> Vec<(Vec<f32>, Label)> {
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

const PEOPLE: &str = "age,city,y\n30, Rome ,no\n40,\"Oslo, N\",yes\n50,Rome,yes\n";

#[test]
fn numbers_categories_and_classes() {
    let data = read(PEOPLE, |_| {}).unwrap();
    let want = [
        (vec![30.0, 1.0], Label::Class(0)),
        (vec![40.0, 0.0], Label::Class(1)),
        (vec![50.0, 1.0], Label::Class(1)),
    ];
    assert_eq!(rows(&data), want);
    assert_eq!(data.class_names(), ["no", "yes"]);
    assert_eq!((data.describe(1), data.sample_shape()), ("t.csv:3".into(), vec![2]));
    let schema = data.csv_schema().unwrap();
    assert_eq!((schema.num_features(), schema.columns[1].name.as_str()), (2, "city"));
}

#[test]
fn columns_are_chosen_by_name_or_place() {
    let data = read(PEOPLE, |s| s.features = Some(vec!["age".into()])).unwrap();
    assert_eq!(data.sample_len(), 1);
    let data = read(PEOPLE, |s| s.exclude = vec![0.into()]).unwrap();
    assert_eq!(rows(&data)[0].0, [1.0]);
    let data = read(PEOPLE, |s| s.label = Some((-1).into())).unwrap();
    assert_eq!(data.num_classes(), Some(2));
    let data = read(PEOPLE, |s| s.label = None).unwrap();
    assert_eq!((data.label_kind(), data.sample_len()), (LabelKind::None, 3));
    let data = read("1;2\n3;4\n", |s| {
        (s.header, s.delimiter, s.label) = (false, ';', Some(1.into()));
    })
    .unwrap();
    assert_eq!(rows(&data)[1], (vec![3.0], Label::Class(1)));
    assert_eq!(data.class_names(), ["2", "4"]);
}

#[test]
fn wrong_columns_are_told() {
    let fails = |edit: fn(&mut CsvSpec)| read(PEOPLE, edit).unwrap_err().to_string();
    assert!(fails(|s| s.label = Some("z".into())).contains("the columns are age, city, y"));
    assert!(fails(|s| s.label = Some(3.into())).contains("no column 3; the table has 3"));
    assert!(fails(|s| s.header = false).contains("header = false"));
    assert!(fails(|s| s.features = Some(vec!["y".into()])).contains("label's column"));
    assert!(fails(|s| s.exclude = vec!["age".into(), 1.into()]).contains("no feature columns"));
    assert!(fails(|s| s.delimiter = '\u{20ac}').contains("delimiter"));
    assert!(read("", |_| {}).unwrap_err().to_string().contains("is empty"));
    assert!(read("a,y\n", |_| {}).unwrap_err().to_string().contains("no usable rows"));
}

#[test]
fn one_hot_and_forced_categories() {
    let data = read("n,y\n10,a\n9,b\n10,a\n", |s| {
        (s.one_hot, s.categorical) = (true, vec!["n".into()]);
    })
    .unwrap();
    assert_eq!(rows(&data)[0].0, [0.0, 1.0]);
    assert_eq!(rows(&data)[1].0, [1.0, 0.0]);
}

#[test]
fn regression_targets() {
    let data = read("x,y\n1,0.5\n2,1.5\n", |s| s.label_type = LabelType::Value).unwrap();
    assert_eq!(rows(&data)[1], (vec![2.0, 1.5], Label::Values));
}

#[test]
fn missing_values_by_policy() {
    let text = "x,c,y\n1,u,a\n?,u,b\n3,,b\n4,v,\n5,v,a\n";
    let error = read(text, |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("t.csv:3: column \"x\" is missing"), "{error}");
    let data = read(text, |s| s.missing = Missing::Skip).unwrap();
    assert_eq!((data.len(), data.num_skipped()), (2, 3));
    let data = read(text, |s| s.missing = Missing::Fill(-1.0)).unwrap();
    // A missing category is a category of its own; a missing label is never made up.
    let x: Vec<_> = rows(&data).into_iter().map(|r| r.0).collect();
    assert_eq!(x, [[1.0, 1.0], [-1.0, 1.0], [3.0, 0.0], [5.0, 2.0]]);
    assert!(data.skipped_examples()[0].contains(":5: the label \"y\" is missing"));
}

#[test]
fn bad_rows_by_policy() {
    let mut text = "x,y\n".to_owned();
    for i in 0..30 {
        text.push_str(&format!("{i},a\n"));
    }
    text.push_str("oops,a\n1,a,extra\ninf,b\n7,b\n");
    let error = read(&text, |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("t.csv:32: column \"x\": \"oops\" is no number"), "{error}");
    let data = read(&text, |s| s.bad_rows = BadRows::Skip).unwrap();
    assert_eq!((data.len(), data.num_skipped()), (31, 3));
    assert!(data.skipped_examples()[1].ends_with(":33: has 3 fields, expected 2"));
}

#[test]
fn another_file_is_read_alike() {
    let train = read(PEOPLE, |s| s.standardize = true).unwrap();
    let like = train.csv_schema();
    // Other order of columns, a class that does not occur.
    let data = read_like("y,city,age\nyes,Rome,40\n", |_| {}, like).unwrap();
    assert_eq!(rows(&data), [(vec![0.0, 1.0], Label::Class(1))]);
    assert_eq!(data.num_classes(), Some(2));
    let error = read_like("y,city,age\nyes,Paris,40\n", |_| {}, like).unwrap_err().to_string();
    assert!(error.starts_with("t.csv:2: column \"city\": the training set has no"), "{error}");
    // To predict: no label column.
    let data = read_like("city,age\nRome,40\n", |s| s.label = None, like).unwrap();
    assert_eq!(rows(&data), [(vec![0.0, 1.0], Label::None)]);
}

#[test]
fn a_label_column_may_be_cut_out_of_a_file_without_header() {
    let plain = |s: &mut CsvSpec| (s.header, s.label) = (false, Some(1.into()));
    let train = read("1,a,2\n3,b,4\n", plain).unwrap();
    let like = train.csv_schema();
    let unlabelled = |s: &mut CsvSpec| (s.header, s.label) = (false, None);
    let data = read_like("5,6\n", unlabelled, like).unwrap();
    assert_eq!(rows(&data), [(vec![5.0, 6.0], Label::None)]);
    assert!(read_like("5\n", unlabelled, like).is_err());
}

#[test]
fn standardized_columns_have_mean_0_and_deviation_1() {
    let data = read("x,k,y\n1,5,a\n2,5,a\n3,5,b\n", |s| s.standardize = true).unwrap();
    let x: Vec<f32> = rows(&data).iter().map(|r| r.0[0]).collect();
    assert!((x[0] + 1.224_745).abs() < 1e-5 && x[1] == 0.0 && (x[2] - 1.224_745).abs() < 1e-5);
    assert!(rows(&data).iter().all(|r| r.0[1] == 0.0));
}

#[test]
fn limit_and_class_names() {
    let data = read(PEOPLE, |s| s.limit = Some(2)).unwrap();
    assert_eq!(data.len(), 2);
    let names = vec!["yes".to_owned(), "no".to_owned(), "maybe".to_owned()];
    let data = read(PEOPLE, |s| s.class_names = names.clone()).unwrap();
    assert_eq!((label(&data, 0), data.num_classes()), (Label::Class(1), Some(3)));
    let error = read(PEOPLE, |s| s.class_names = names[..1].to_vec()).unwrap_err().to_string();
    assert!(error.contains("t.csv:2: label \"y\": \"no\" is no known class"), "{error}");
}

#[test]
fn text_that_is_not_utf8_is_a_bad_row() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"x,y\na,u\n\xff,u\n").unwrap();
    let path: PathBuf = file.path().to_owned();
    let mut spec = CsvSpec::new("t.csv");
    spec.label = Some("y".into());
    let error = spec.open(&|_| path.clone(), None).unwrap_err().to_string();
    assert!(error.contains(":3: column \"x\" is not UTF-8"), "{error}");
    spec.bad_rows = BadRows::Skip;
    assert_eq!(spec.open(&|_| path.clone(), None).unwrap().len(), 1);
}
