//! Raw values made into inputs, online.
#![allow(clippy::unwrap_used)]

mod common;

use common::{bits, encode, encoder, events, line, lines, made, real, saved};
use proptest::prelude::*;
use serde_json::json;
use tidemill_table::{
    Encoder, Events, Evidence, FeaturesSpec, Format, FreedRow, Label, Labels, Value,
};

#[test]
fn running_statistics_are_those_of_two_passes() {
    let Some(bytes) = real("electricity/elec2_8.csv.gz") else { return };
    let text = String::from_utf8(bytes).unwrap().replace("class", "y");
    let data = events(&text);
    let mut encoder = encoder(json!({ "clip": 1e9, "max_deviations": 1e100 }), &data);
    let count = data.0.len();
    let mut last = Vec::new();
    for i in 0..count {
        last = encode(&mut encoder, &data.0, i).unwrap();
    }
    for (column, z) in last.iter().enumerate() {
        let values: Vec<f64> = (0..count)
            .map(|i| match data.0.get(i).value(column) {
                Value::Number(n) => n,
                other => panic!("{other:?}"),
            })
            .collect();
        let n = count as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let expected = (values[count - 1] - mean) / variance.sqrt();
        assert!((f64::from(*z) - expected).abs() < 1e-5, "column {column}: {z} {expected}");
    }
}

#[test]
fn values_are_clipped_and_constants_are_zero() {
    let rows: String = (0..50).map(|i| format!("{},5,0\n", i % 2)).collect();
    let data = events(&format!("a,b,y\n{rows}1000,5,1"));
    let mut encoder = encoder(json!({}), &data);
    for i in 0..50 {
        assert_eq!(encode(&mut encoder, &data.0, i).unwrap()[1], 0.0);
    }
    assert_eq!(encode(&mut encoder, &data.0, 50).unwrap(), [3.0, 0.0]);
}

#[test]
fn one_outlier_does_not_spoil_the_scale() {
    let rows: String = (0..1000).map(|i| format!("{},0\n", i % 2)).collect();
    let data = events(&format!("a,y\n{rows}1e15,0\n1,0"));
    let mut encoder = encoder(json!({}), &data);
    let all: Vec<f32> = (0..1002).map(|i| encode(&mut encoder, &data.0, i).unwrap()[0]).collect();
    assert_eq!(all[1000], 3.0);
    assert!((all[999] - all[1001]).abs() < 0.1, "{} {}", all[999], all[1001]);
}

#[test]
fn missing_numbers_are_the_mean_and_may_be_told() {
    let data = events("a,b,y\n1,,0\n3,2,0\n,4,1");
    let mut encoder = encoder(json!({ "missing_indicator": true }), &data);
    assert_eq!(encoder.names(), ["a", "b", "a is missing", "b is missing"]);
    assert_eq!(encode(&mut encoder, &data.0, 0).unwrap(), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(encode(&mut encoder, &data.0, 1).unwrap(), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(encode(&mut encoder, &data.0, 2).unwrap(), [0.0, 1.0, 1.0, 0.0]);
}

#[test]
fn what_is_no_number_is_missing_and_counted() {
    let good = "1,2,0\n".repeat(40);
    let data = events(&format!("a,b,y\n{good}2,nan,0\n3,1e30,0\n4,-inf,0\n5,text,0\n6,7,0\n,,0"));
    let mut encoder = encoder(json!({ "numeric": ["a", "b"], "fill": 4.0 }), &data);
    (0..46).for_each(|i| drop(encode(&mut encoder, &data.0, i).unwrap()));
    let (_, values) = encoder.numbers();
    assert_eq!(values, [4.0, 4.0]);
    let notes: Vec<String> = encoder.notes().iter().map(|n| n.to_string()).collect();
    assert_eq!(
        notes,
        ["column `b`: `1e30` and the like are no numbers up to 1e19 and are missing (3 times)"]
    );
    let other: Vec<_> = encoder.not_numbers(data.0.get(43)).collect();
    assert_eq!(other, [(1, Value::Text("text"))]);
}

#[test]
fn a_column_of_numbers_may_turn_out_to_be_texts_and_the_other_way() {
    // Nothing is known of `city` at first.
    let rows: String = (0..20).map(|i| format!("{i},{},0\n", ["x", "y", "1e3"][i % 3])).collect();
    let data = events(&format!("a,city,y\n1,,0\n{rows}"));
    let mut first = Events::default();
    let mut csv = made(Format::Csv, json!({}), None);
    line(&mut *csv, "a,city,y", true, &mut first).unwrap();
    line(&mut *csv, "1,,0", false, &mut first).unwrap();
    let spec = FeaturesSpec::default();
    let mut encoder = Encoder::new(&spec, &data.1, &first).unwrap();
    assert_eq!(encoder.width(), 2);
    let x: Vec<f32> = (0..21).map(|i| encode(&mut encoder, &data.0, i).unwrap()[1]).collect();
    assert!(x[18] != x[19] && x[19] != x[20] && x[18] != x[20], "{x:?}");
    assert_eq!(encoder.kinds()[1].kind, "code of a text");
    let note = encoder.notes()[0].to_string();
    assert!(
        note.starts_with("column `city` was taken for numbers and holds texts (`x`)"),
        "{note}"
    );
    assert_eq!(encode(&mut saved(&encoder), &data.0, 20), encode(&mut encoder, &data.0, 20));
    // Numbers after a text at the start.
    let rows: String = (0..200).map(|i| format!("{i},0\n")).collect();
    let data = events(&format!("a,y\n,0\noff,0\n{rows}"));
    let mut encoder = Encoder::new(&spec, &data.1, &first_of(&data.0, 1)).unwrap();
    (0..202).for_each(|i| drop(encode(&mut encoder, &data.0, i).unwrap()));
    assert_eq!(encoder.kinds()[0].kind, "number");
    assert_eq!(encoder.numbers().1, [199.0]);
    // What is not known may be text where a model's inputs say so.
    let texts = FeaturesSpec { unknown_is_text: true, ..FeaturesSpec::default() };
    assert_eq!(Encoder::new(&texts, &data.1, &first_of(&data.0, 1)).unwrap().width(), 65);
}

fn first_of(events: &Events, n: usize) -> Events {
    let mut first = events.clone();
    first.truncate(n);
    first
}

#[test]
fn vectors_are_standardized_as_columns_are() {
    let value = |i: usize, j: usize| 100.0 * j as f64 + ((i * 7 + j * 3) % 11) as f64;
    let json: String = (0..50)
        .map(|i| format!("{{\"x\": [{}, {}], \"y\": 1}}\n", value(i, 0), value(i, 1)))
        .collect();
    let csv: String = (0..50).map(|i| format!("{},{},1\n", value(i, 0), value(i, 1))).collect();
    let columns = events(&format!("a,b,y\n{csv}"));
    let mut decoder = made(Format::JsonLines, json!({}), None);
    let (vectors, _) = lines(&mut *decoder, &json);
    let vectors = (vectors, decoder.schema().unwrap().clone());
    let (mut one, mut two) = (encoder(json!({}), &columns), encoder(json!({}), &vectors));
    for i in 0..50 {
        if i == 20 {
            two = saved(&two);
        }
        assert_eq!(
            encode(&mut one, &columns.0, i).unwrap(),
            encode(&mut two, &vectors.0, i).unwrap()
        );
    }
    let mut evidence = Evidence::new(&FeaturesSpec::default(), &vectors.1);
    (0..50).for_each(|i| evidence.add(vectors.0.get(i)));
    let fitted = Encoder::fit(&FeaturesSpec::default(), &vectors.1, &evidence).unwrap();
    assert_eq!(serde_json::to_string(&fitted).unwrap(), serde_json::to_string(&two).unwrap());
}

#[test]
fn text_is_looked_up_hashed_or_numbered() {
    let data =
        events("n,color,zip,y\n1,red,123,0\n2,blue,1.5,0\n3,green,,0\n4,NA,123,0\n5,red,9,0");
    let spec = json!({
        "text": { "dictionary": { "capacity": 2 } },
        "categorical": { "zip": { "hashing": { "buckets": 5 } } },
        "standardize": "none"
    });
    let mut encoder = encoder(spec, &data);
    let all: Vec<_> = (0..5).map(|i| encode(&mut encoder, &data.0, i).unwrap()).collect();
    assert_eq!(all[0][..4], [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(all[1][..4], [2.0, 0.0, 0.0, 1.0]);
    assert_eq!(all[2][..4], [3.0, 1.0, 0.0, 0.0], "no room for green");
    assert_eq!(all[3][..4], [4.0, 0.0, 0.0, 0.0], "missing is none of them");
    assert_eq!(all[4][..4], [5.0, 0.0, 1.0, 0.0]);
    assert_eq!(all[0][4..], all[3][4..]);
    assert_eq!(all[1][4..].iter().sum::<f32>(), 1.0);
    assert_eq!(all[2][4..], [0.0; 5]);
    assert_eq!(
        encoder.names()[..4],
        ["n", "color is another", "color=red", "color=blue"].map(String::from)
    );
}

#[test]
fn predicting_before_anything_was_learned_works() {
    let data = events("n,color,id,y\n5,red,u1,0\n6,,u2,1");
    let spec = json!({ "categorical": {
        "color": { "dictionary": { "capacity": 1 } }, "id": { "embedding": { "capacity": 3 } }
    } });
    let encoder = encoder(spec, &data);
    let before = serde_json::to_string(&encoder).unwrap();
    let mut x = [f32::NAN; 4];
    encoder.transform(data.0.get(0), &mut x).unwrap();
    assert_eq!(x, [0.0, 1.0, 0.0, 0.0], "the mean, another color, no row");
    encoder.transform(data.0.get(1), &mut x).unwrap();
    assert_eq!(x, [0.0; 4]);
    assert_eq!(serde_json::to_string(&encoder).unwrap(), before);
}

#[test]
fn ids_get_rows_lose_them_and_say_so() {
    let ids = ["a", "a", "b", "b", "c", "c", "", "d", "a", "d", "b", "b"];
    let rows: String = ids.iter().map(|id| format!("0,{id},0\n")).collect();
    let data = events(&format!("n,id,y\n{rows}"));
    let spec = json!({ "categorical": {
        "id": { "embedding": { "capacity": 2, "min_count": 2, "expiry": 5 } }
    } });
    let mut encoder = encoder(spec, &data);
    let (mut got, mut freed) = (Vec::new(), Vec::new());
    for i in 0..ids.len() {
        got.push(encode(&mut encoder, &data.0, i).unwrap()[1]);
        for row in encoder.take_freed() {
            freed.push((i, row));
        }
        encoder = saved(&encoder);
    }
    // a has row 1 from its second sighting, b row 2; c finds no room. a goes at event 7 and d takes
    // its row with its second sighting; b goes at event 9.
    assert_eq!(got, [0., 1., 0., 2., 0., 0., 0., 0., 0., 2., 0., 1.]);
    let free = |row| FreedRow { embedding: 0, row };
    assert_eq!(freed, [(7, free(1)), (9, free(2))]);
}

#[test]
fn memory_for_ids_is_bounded() {
    let mut text = String::from("n,id,y\n");
    (0..5000).for_each(|i| text += &format!("0,user{i},0\n"));
    let data = events(&text);
    let spec =
        json!({ "categorical": { "id": { "embedding": { "capacity": 10, "min_count": 2 } } } });
    let mut encoder = encoder(spec, &data);
    (0..5000).for_each(|i| assert_eq!(encode(&mut encoder, &data.0, i).unwrap()[1], 0.0));
    let text = serde_json::to_string(&encoder).unwrap();
    assert!(text.len() < 1500, "{} bytes", text.len());
}

#[test]
fn vectors_pass_with_a_scale() {
    let mut decoder = made(Format::JsonLines, json!({}), None);
    let text = "{\"x\": [255, 51], \"y\": 1}\n{\"x\": [1e30, 0], \"y\": 1}";
    let (events, _) = lines(&mut *decoder, text);
    let data = (events, decoder.schema().unwrap().clone());
    let mut encoder = encoder(json!({ "vector_scale": 1.0 / 255.0 }), &data);
    assert_eq!(encode(&mut encoder, &data.0, 0).unwrap(), [1.0, 51.0 * (1.0 / 255.0)]);
    let bad = encode(&mut encoder, &data.0, 1).unwrap_err();
    assert!(bad.starts_with("column `vector[0]`: 1."), "{bad}");
}

#[test]
fn a_spec_that_makes_no_sense_is_refused() {
    let data = events("a,b,y\n1,2,0");
    let refused = |spec| {
        let spec: FeaturesSpec = serde_json::from_value(spec).unwrap();
        Encoder::new(&spec, &data.1, &data.0).unwrap_err().to_string()
    };
    let none = json!({ "numeric": ["c"] });
    assert_eq!(refused(none), "online.features: no column `c`; the columns are a, b");
    let empty = json!({ "text": { "dictionary": { "capacity": 0 } } });
    assert!(refused(empty).contains("online.features.text.dictionary.capacity must be from 1"));
    assert!(refused(json!({ "clip": 0.0 })).contains("online.features.clip must be above 0"));
}

#[test]
fn classes_come_in_their_order_until_full() {
    let mut labels = Labels::classes(3, &[]);
    let class = |n| Ok(Some(Label::Class(n)));
    assert_eq!(labels.transform(Value::Number(7.0)), Ok(None));
    assert_eq!(labels.encode(Value::Number(7.0)), class(0));
    assert_eq!(labels.encode(Value::Text("up")), class(1));
    assert_eq!(labels.encode(Value::Number(-1.5)), class(2));
    assert_eq!(labels.encode(Value::Missing), Ok(None));
    assert_eq!(labels.encode(Value::Number(7.0)), class(0));
    assert_eq!(labels.encode(Value::Text("7")), class(0));
    let bad = labels.encode(Value::Text("left")).unwrap_err().reason;
    assert_eq!(bad, "unknown class `left`: the model has 3 outputs, all taken (7, up, -1.5)");
    assert!(labels.check(Value::Text("left")).is_err());
    assert!(labels.encode(Value::Number(f64::NAN)).is_err());
    let text = serde_json::to_string(&labels).unwrap();
    let mut back: Labels = serde_json::from_str(&text).unwrap();
    assert_eq!(back.encode(Value::Number(-1.5)), class(2));
    assert_eq!(back.names(), ["7", "up", "-1.5"]);
    let mut known = Labels::classes(2, &["no".into(), "yes".into()]);
    assert_eq!(known.encode(Value::Text("yes")), class(1));
    assert!(known.encode(Value::Text("maybe")).is_err());
}

#[test]
fn binary_labels_are_numbers() {
    let mut labels = Labels::Binary;
    assert_eq!(labels.encode(Value::Number(-1.0)), Ok(Some(Label::Class(0))));
    assert_eq!(labels.encode(Value::Number(1.0)), Ok(Some(Label::Class(1))));
    let bad = labels.encode(Value::Number(2.0)).unwrap_err().reason;
    assert_eq!(bad, "label 2 is none of 0, -1, 1, false and true; name the classes");
}

#[test]
fn labels_take_the_outputs_that_are_free() {
    let classes = |capacity, labels: &[Value<'_>]| -> Vec<usize> {
        let mut known = Labels::classes(capacity, &[]);
        let one = |label: &Value<'_>| match known.encode(*label) {
            Ok(Some(Label::Class(class))) => class,
            other => panic!("{other:?}"),
        };
        labels.iter().map(one).collect()
    };
    let n = Value::Number;
    assert_eq!(classes(3, &[n(2.0), n(0.0), n(1.0)]), [2, 0, 1], "as they are");
    assert_eq!(classes(3, &[n(1.0), n(2.0), n(1.0), n(3.0)]), [1, 2, 1, 0], "1 to K");
    assert_eq!(classes(2, &[n(2.0), n(1.0)]), [0, 1]);
    assert_eq!(classes(2, &[n(1.0), n(-1.0)]), [1, 0]);
    assert_eq!(classes(2, &[n(-1.0), n(1.0)]), [0, 1]);
    assert_eq!(classes(2, &[Value::Text("y"), Value::Text("n")]), [0, 1]);
    // 64-bit labels are distinguished.
    let big = ["9007199254740993", "9007199254740992"];
    assert_eq!(classes(2, &big.map(Value::Text)), [0, 1]);
    // Of a file, in their order; what comes later takes what is free.
    let found = |labels: &[&str]| labels.iter().map(|l| l.to_string()).collect();
    let mut labels = Labels::found(3, &found(&["2", "1"]));
    assert_eq!(labels.names(), ["0", "1", "2"], "outputs by number");
    assert_eq!(labels.encode(n(2.0)), Ok(Some(Label::Class(2))));
    let mut labels = Labels::found(4, &found(&["4", "2", "1"]));
    assert_eq!(labels.encode(n(4.0)), Ok(Some(Label::Class(2))));
    assert_eq!(labels.encode(n(3.0)), Ok(Some(Label::Class(3))));
    let text = serde_json::to_string(&labels).unwrap();
    let back: Labels = serde_json::from_str(&text).unwrap();
    assert_eq!(back.names(), ["1", "2", "4", "3"]);
    // Checkpoints of before have names alone.
    let old: Labels =
        serde_json::from_str("{\"classes\":{\"capacity\":3,\"texts\":[\"b\",\"a\"]}}").unwrap();
    assert_eq!(old.transform(Value::Text("a")), Ok(Some(Label::Class(1))));
}

#[test]
fn the_positive_class_does_not_depend_on_the_order() {
    for order in [["no", "yes"], ["yes", "no"]] {
        let mut labels = Labels::classes(2, &[]);
        order.iter().for_each(|label| drop(labels.encode(Value::Text(label))));
        assert_eq!(labels.names()[labels.positive().unwrap()], "yes");
    }
    let named = Labels::classes(2, &["yes".to_owned(), "no".to_owned()]);
    assert_eq!(named.positive(), Some(1), "the second one that is named");
    let mut numbers = Labels::classes(2, &[]);
    [2.0, 1.0].iter().for_each(|n| drop(numbers.encode(Value::Number(*n))));
    assert_eq!(numbers.names()[numbers.positive().unwrap()], "2");
    assert_eq!(Labels::classes(3, &[]).positive(), None);
}

#[test]
fn targets_are_scaled_and_come_back() {
    let mut labels = Labels::values(true);
    for target in [10.0, 20.0, 30.0] {
        labels.encode(Value::Number(target)).unwrap();
    }
    let Ok(Some(Label::Value(scaled))) = labels.transform(Value::Number(30.0)) else { panic!() };
    assert!((f64::from(scaled) - 10.0 / (200.0_f64 / 3.0).sqrt()).abs() < 1e-6);
    assert!((labels.unscale(scaled) - 30.0).abs() < 1e-5);
    assert!(labels.encode(Value::Number(1e30)).is_err());
    assert!(labels.encode(Value::Text("x")).is_err());
    assert_eq!(Labels::values(false).encode(Value::Number(5.0)), Ok(Some(Label::Value(5.0))));
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (-1e3..1e3).prop_map(|n: f64| n.to_string()),
        1 => Just(String::new()),
        1 => any::<f64>().prop_map(|n| format!("{n:e}")),
    ]
}

proptest! {
    #[test]
    fn a_restored_encoder_goes_on_with_the_same_bits(
        rows in proptest::collection::vec((field(), field(), "[a-f]{0,1}", "[a-f]{0,1}"), 1..150),
        cut in 0..150_usize,
    ) {
        let rows: Vec<_> = rows.iter().map(|(a, b, c, d)| format!("{a},{b},{c},{d},0")).collect();
        let data = events(&format!("a,b,c,d,y\n{}", rows.join("\n")));
        let spec = json!({ "missing_indicator": true, "categorical": {
            "c": { "dictionary": { "capacity": 4 } },
            "d": { "embedding": { "capacity": 2, "min_count": 2, "expiry": 7 } },
        } });
        let mut one = encoder(spec.clone(), &data);
        let mut two = encoder(spec, &data);
        for i in 0..rows.len() {
            if i == cut {
                two = saved(&two);
            }
            let (x, y) = (encode(&mut one, &data.0, i), encode(&mut two, &data.0, i));
            prop_assert_eq!(x.map(|x| bits(&x)), y.map(|y| bits(&y)));
            prop_assert_eq!(one.take_freed(), two.take_freed());
        }
    }

    #[test]
    fn inputs_are_always_finite(rows in proptest::collection::vec(field(), 1..150)) {
        let data = events(&format!("a,n,y\n{}", rows.iter().map(|r| format!("{r},0,0\n")).collect::<String>()));
        let mut encoder = encoder(json!({}), &data);
        for i in 0..rows.len() {
            if let Ok(x) = encode(&mut encoder, &data.0, i) {
                prop_assert!(x.iter().all(|x| x.abs() <= 3.0), "{x:?}");
            }
        }
    }
}

#[test]
fn words_are_rows_of_one_table() {
    let data = events(
        "n,text,y\n1,Free ENTRY; free prize!,0\n2,\"entry, prize, Ünï\",1\n3,,0\n4,a b c d e,1\n5,17 free,0",
    );
    let spec = json!({ "categorical": { "text": { "words": { "buckets": 1000, "most": 4 } } } });
    let mut encoder = encoder(spec, &data);
    assert_eq!(encoder.width(), 5);
    let rows: Vec<Vec<f32>> =
        (0..5).map(|i| encode(&mut encoder, &data.0, i).unwrap()[1..].to_vec()).collect();
    let [free, entry, prize, none] = rows[0][..] else { panic!("four inputs") };
    assert!([free, entry, prize].iter().all(|row| (1.0..=1000.0).contains(row)), "{rows:?}");
    assert_eq!(none, 0.0, "a word counts once");
    assert_eq!(rows[1][..2], [entry, prize]);
    assert_eq!(rows[2], [0.0; 4]);
    assert!(rows[3].iter().all(|row| *row > 0.0), "four of five words");
    assert_eq!(rows[4][1], free);
    let [table] = encoder.tables()[..] else { panic!("one table") };
    assert_eq!((table.column, table.rows, table.inputs), ("text", 1001, 4));
    assert_eq!(encoder.names()[1..3], ["text word 1", "text word 2"]);
    assert_eq!(saved(&encoder).tables(), encoder.tables());
}

#[test]
fn what_is_saved_can_be_read_by_people() {
    let data = events("a,kind,y\n1,x,0\n2.5,y,1\n4,x,0\n");
    let spec = FeaturesSpec { hats: Some(5), ..FeaturesSpec::default() };
    let mut encoder = Encoder::new(&spec, &data.1, &data.0).unwrap();
    for i in 0..3 {
        encode(&mut encoder, &data.0, i).unwrap();
    }
    let readable = encoder.readable();
    assert_eq!(readable["clip"], 3.0);
    assert_eq!(readable["running"]["means"][0], 2.5);
    assert_eq!(readable["running"]["counts"][0], 3.0);
    assert_eq!(readable["numbers"][0]["name"], "a");
    fn no_bits(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Number(n) => n.as_u64().is_none_or(|n| n < 1 << 50),
            serde_json::Value::Array(all) => all.iter().all(no_bits),
            serde_json::Value::Object(all) => all.values().all(no_bits),
            _ => true,
        }
    }
    assert!(no_bits(&readable), "{readable}");
}
