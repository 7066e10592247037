//! An encoder fitted on a table, and rows kept in memory.
#![allow(clippy::unwrap_used)]

mod common;

use common::{lines, made};
use proptest::prelude::*;
use serde_json::json;
use tidemill_table::{Encoder, Events, Evidence, FeaturesSpec, Format, Labels, Schema, Value};

fn events(text: &str, spec: serde_json::Value) -> (Events, Schema) {
    let mut csv = made(Format::Csv, spec, None);
    let (events, bad) = lines(&mut *csv, text);
    assert!(bad.is_empty(), "{bad:?}");
    (events, csv.schema().unwrap().clone())
}

fn fit(spec: serde_json::Value, (events, schema): &(Events, Schema)) -> Encoder {
    let spec: FeaturesSpec = serde_json::from_value(spec).unwrap();
    let mut evidence = Evidence::new(&spec, schema);
    (0..events.len()).for_each(|i| evidence.add(events.get(i)));
    Encoder::fit(&spec, schema, &evidence).unwrap()
}

fn row(encoder: &Encoder, events: &Events, i: usize) -> Vec<f32> {
    let mut x = vec![f32::NAN; encoder.width()];
    encoder.transform(events.get(i), &mut x).unwrap();
    x
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn the_whole_table_decides_what_a_column_is() {
    // The first text of `late` comes in row 150; `odd` has one text in forty, a slip of the pen.
    let rows = (0..200).map(|i| {
        let late = if i < 150 { (i % 3).to_string() } else { format!("t{}", i % 2) };
        let odd = if i % 40 == 39 { "oops".to_owned() } else { i.to_string() };
        format!("{late},{odd},,0\n")
    });
    let data = events(&format!("late,odd,none,y\n{}", rows.collect::<String>()), json!({}));
    let encoder = fit(json!({}), &data);
    assert_eq!(encoder.names()[..4], ["odd", "none", "late is another", "late=0"]);
    assert_eq!(encoder.names()[4..9], ["late=1", "late=2", "late=t0", "late=t1", "late unused 5"]);
    assert_eq!(encoder.width(), 2 + 65);
    // A slip of the pen is missing.
    let slip: Vec<_> = encoder.not_numbers(data.0.get(39)).collect();
    assert_eq!(slip, [(1, Value::Text("oops"))]);
    encoder.code(data.0.get(39), &mut encoder.codes(1)).unwrap();
    // Text is text where the format or the recipe says so.
    let data = events("zip,y\n1,0\n2,0", json!({ "text": ["zip"] }));
    assert_eq!(fit(json!({}), &data).names()[1], "zip=1");
    let data = events("zip,y\n1,0\n2,0", json!({}));
    let encoder = fit(json!({ "categorical": { "zip": { "hashing": { "buckets": 7 } } } }), &data);
    assert_eq!(encoder.width(), 7);
    let missing = json!({ "numeric": ["zap"] });
    let spec: FeaturesSpec = serde_json::from_value(missing).unwrap();
    let error = Encoder::fit(&spec, &data.1, &Evidence::new(&FeaturesSpec::default(), &data.1));
    assert!(error.unwrap_err().to_string().contains("no column `zap`; the columns are zip"));
}

#[test]
fn the_most_frequent_texts_and_ids_have_the_room() {
    let text = "a,b,c,b,c,c,d,d,d,d,e".split(',').map(|t| format!("{t},{t},0\n"));
    let data = events(&format!("k,id,y\n{}", text.collect::<String>()), json!({}));
    let spec = json!({ "categorical": {
        "k": { "dictionary": { "capacity": 2 } },
        "id": { "embedding": { "capacity": 2, "min_count": 2, "expiry": 3 } },
    } });
    let mut encoder = fit(spec, &data);
    assert_eq!(encoder.names(), ["k is another", "k=c", "k=d", "id row"]);
    // c has row 1 and d row 2; b was seen twice, but there is no room; nothing has expired.
    let ids: Vec<f32> = (0..11).map(|i| row(&encoder, &data.0, i)[3]).collect();
    assert_eq!(ids, [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 0.0]);
    // It goes on as a stream: c was seen last in row 6 of 11, and is given up.
    let mut x = vec![0.0; encoder.width()];
    encoder.encode(data.0.get(1), &mut x).unwrap();
    assert_eq!(encoder.take_freed().len(), 1);
    assert_eq!(row(&encoder, &data.0, 2)[3], 0.0);
}

#[test]
fn large_numbers_keep_their_differences() {
    let rows: String = (0..1000).map(|i| format!("{},{},0\n", 1_700_000_000 + i, i)).collect();
    let data = events(&format!("time,small,y\n{rows}"), json!({}));
    let encoder = fit(json!({}), &data);
    for i in 0..1000 {
        let x = row(&encoder, &data.0, i);
        assert!((x[0] - x[1]).abs() < 1e-5, "row {i}: {x:?}");
    }
}

#[test]
fn numbers_are_scaled_as_the_recipe_says_and_filled() {
    let data = events("a,b,y\n51,0,0\n,255,1", json!({}));
    let spec = json!({ "standardize": { "scale": { "multiply": 1.0 / 51.0, "add": -1.0 } } });
    let encoder = fit(spec, &data);
    assert_eq!(row(&encoder, &data.0, 0), [0.0, -1.0]);
    assert_eq!(row(&encoder, &data.0, 1), [0.0, 4.0]);
    let encoder = fit(json!({ "standardize": "none", "fill": -7.0 }), &data);
    assert_eq!(row(&encoder, &data.0, 1), [-7.0, 255.0]);
    let spec: FeaturesSpec = serde_json::from_value(json!({ "fill": 1e30 })).unwrap();
    let evidence = Evidence::new(&spec, &data.1);
    assert!(Encoder::fit(&spec, &data.1, &evidence).is_err());
}

#[test]
fn classes_are_sorted_and_new_ones_have_room() {
    let names = |found: &[&str]| Labels::sorted(found.iter().map(|n| n.to_string())).names();
    assert_eq!(names(&["10", "9", "-1"]), ["-1", "9", "10"]);
    assert_eq!(names(&["b", "10", "a"]), ["10", "a", "b"]);
    let mut labels = Labels::sorted(["no".to_owned(), "yes".to_owned()]);
    assert!(labels.encode(Value::Text("maybe")).is_err());
    labels.reserve(3);
    assert!(labels.encode(Value::Text("maybe")).is_ok());
    assert_eq!(labels.names(), ["no", "yes", "maybe"]);
    assert_eq!(Labels::name(Value::Number(1.0)).as_deref(), Some("1"));
    assert_eq!(Labels::name(Value::Number(f64::NAN)), None);
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (-1e3..1e3).prop_map(|n: f64| n.to_string()),
        1 => Just(String::new()),
        1 => (-1e18..1e18).prop_map(|n: f64| format!("{n:e}")),
    ]
}

fn rows() -> impl Strategy<Value = Vec<(String, String, String, String, String)>> {
    let row = (field(), field(), "[a-f]{0,1}", "[a-f]{0,1}", "[a-c]( [a-e]){0,5}");
    proptest::collection::vec(row, 1..150)
}

fn table(rows: &[(String, String, String, String, String)]) -> (Events, Schema) {
    let rows: Vec<_> =
        rows.iter().map(|(a, b, c, d, e)| format!("{a},{b},{c},{d},{e},0")).collect();
    events(&format!("a,b,c,d,e,y\n{}", rows.join("\n")), json!({}))
}

fn spec(indicator: bool) -> serde_json::Value {
    json!({ "missing_indicator": indicator, "numeric": ["a", "b"], "categorical": {
        "c": { "dictionary": { "capacity": 6 } },
        "d": { "embedding": { "capacity": 6 } },
        "e": { "words": { "buckets": 3, "most": 4 } },
    } })
}

proptest! {
    #[test]
    fn a_fitted_encoder_is_one_that_saw_the_rows_as_events(rows in rows()) {
        let data = table(&rows);
        let fitted = fit(spec(true), &data);
        let features: FeaturesSpec = serde_json::from_value(spec(true)).unwrap();
        let mut online = Encoder::new(&features, &data.1, &Events::default()).unwrap();
        let mut x = vec![0.0; online.width()];
        (0..rows.len()).for_each(|i| online.encode(data.0.get(i), &mut x).unwrap());
        let json = |encoder: &Encoder| serde_json::to_string(encoder).unwrap();
        prop_assert_eq!(json(&fitted), json(&online));
    }

    #[test]
    fn rows_in_memory_give_the_same_inputs(rows in rows(), indicator: bool) {
        let data = table(&rows);
        let encoder = fit(spec(indicator), &data);
        let mut codes = encoder.codes(rows.len());
        for i in 0..rows.len() {
            encoder.code(data.0.get(i), &mut codes).unwrap();
        }
        // What is no number is as what is missing.
        let odd = ["no", ""].map(|b| {
            let event = events(&format!("a,b,c,d,e,y\n1,{b},a,b,a b,0"), json!({}));
            let (mut one, mut x) = (encoder.codes(1), vec![f32::NAN; encoder.width()]);
            encoder.code(event.0.get(0), &mut one).unwrap();
            one.fill(0, &mut x);
            bits(&x)
        });
        prop_assert_eq!(&odd[0], &odd[1]);
        prop_assert_eq!((codes.len(), codes.width()), (rows.len(), encoder.width()));
        for i in (0..rows.len()).rev() {
            let mut x = vec![f32::NAN; codes.width()];
            codes.fill(i, &mut x);
            prop_assert_eq!(bits(&x), bits(&row(&encoder, &data.0, i)));
        }
    }
}
