//! JSON lines as events.
#![allow(clippy::unwrap_used)]

mod common;

use common::{all, line, lines, made};
use proptest::prelude::*;
use serde_json::json;
use tidemill_table::{Events, Format, Value};

#[test]
fn the_first_event_fixes_the_columns() {
    let mut decoder = made(Format::JsonLines, json!({}), None);
    let (events, bad) = lines(
        &mut *decoder,
        "{\"a\": 1, \"b\": {\"c\": \"x\", \"d\": null}, \"label\": true}\n\
         \n\
         {\"label\": false, \"b\": {\"d\": 2.5, \"new\": [{}], \"c\": \"NA\"}, \"other\": {\"a\": 7}, \"a\": -0.5}\n\
         {\"b\": 3}",
    );
    assert_eq!(bad, ["none of the keys that are inputs is there (a, b.c, b.d)"]);
    assert_eq!(all(&events), ["'true' | 1 'x' ?", "'false' | -0.5 ? 2.5"]);
    let notes: Vec<String> = decoder.notes().iter().map(|n| n.to_string()).collect();
    assert_eq!(
        notes,
        ["key `b.new` is no input and is ignored", "key `other` is no input and is ignored",]
    );
    assert_eq!(decoder.schema().unwrap().columns, ["a", "b.c", "b.d"]);
}

#[test]
fn roles_are_given_by_path() {
    let spec = json!({
        "columns": ["x.v", "zip"], "label": "meta.y", "id": "meta.key", "weight": "w", "text": ["zip"]
    });
    let mut decoder = made(Format::JsonLines, spec, None);
    let (events, _) = lines(
        &mut *decoder,
        "{\"meta\": {\"key\": 900719925474099312345, \"y\": \"a\\u00e4\\n\"}, \"w\": 2, \"zip\": 0.50, \
         \"x\": {\"v\": 1e3}}",
    );
    assert_eq!(all(&events), ["'a\u{e4}\n' | 1000 '0.50' | '900719925474099312345' 2"]);
}

#[test]
fn arrays_of_numbers_are_vectors() {
    let mut decoder = made(Format::JsonLines, json!({}), None);
    let (events, bad) = lines(
        &mut *decoder,
        "{\"names\": [\"a\"], \"x\": [1, 2.5, -3], \"y\": 1}\n\
         {\"y\": 0, \"x\": [ ] }\n\
         {\"y\": 0}\n\
         {\"x\": [1, null, 2]}\n\
         {\"x\": [1, NaN, 2]}\n\
         {\"y\": 0, \"x\": [4,5,6]}",
    );
    assert_eq!(all(&events), ["1 | v1 v2.5 v-3", "0 | v4 v5 v6"]);
    assert_eq!(
        bad,
        [
            "key `x` has 0 numbers, expected 3; if it is no input, name it in stream.ignore",
            "key `x`, the array of inputs, is not there",
            "key `x`: byte 10: expected a number, found `null, 2]}`",
            "key `x`: byte 10: expected a number, found `NaN, 2]}`",
        ]
    );
}

#[test]
fn what_is_no_event_says_where() {
    let mut decoder = made(Format::JsonLines, json!({ "columns": ["a"] }), None);
    let mut events = Events::default();
    for (text, reason) in [
        ("[1]", "byte 0: expected an object: `{`, found `[1]`"),
        ("{\"a\": 1", "byte 7: expected `,` or `}`, found the end"),
        ("{\"a\": 1} x", "byte 9: expected the end of the line, found `x`"),
        ("{\"a\": [1]}", "key `a`: is an array, expected a number or text"),
        ("{\"a\": 01}", "key `a`: byte 6: expected a number, found `01}`"),
        ("{a: 1}", "byte 1: expected a key in quotes, found `a: 1}`"),
    ] {
        let bad = line(&mut *decoder, text, false, &mut events).unwrap_err();
        assert_eq!(bad.reason, reason);
    }
    assert!(events.is_empty());
}

#[test]
fn a_schema_given_back_is_kept() {
    let mut decoder = made(Format::JsonLines, json!({}), None);
    lines(&mut *decoder, "{\"a\": 1, \"x\": [1, 2], \"y\": 1}");
    let schema = decoder.schema().cloned();
    let mut decoder = made(Format::JsonLines, json!({}), schema.clone());
    let (events, _) = lines(&mut *decoder, "{\"b\": 1, \"y\": 2, \"x\": [3, 4], \"a\": \"t\"}");
    assert_eq!(all(&events), ["2 | 't' v3 v4"]);
    assert_eq!(decoder.schema().cloned(), schema);
}

#[test]
fn a_key_cannot_be_input_and_label() {
    let spec = serde_json::from_value(json!({ "columns": ["a", "b"], "label": "b" })).unwrap();
    let error = tidemill_table::decoder(&spec, Format::JsonLines, None).err().unwrap();
    assert!(error.to_string().contains("`b` is an input there and something else"), "{error}");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<f64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<String>().prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|v| json!(v)),
            proptest::collection::btree_map("[a-d\"\\\\]{1,2}", inner, 0..6).prop_map(|m| json!(m)),
        ]
    })
}

proptest! {
    #[test]
    fn objects_come_back(map in proptest::collection::btree_map("[a-e]", any_json(), 1..6)) {
        let spec = json!({ "columns": ["a", "b.a", "c"], "missing": [], "vector": null, "ignore": ["d", "e"] });
        let mut decoder = made(Format::JsonLines, spec, Some(tidemill_table::Schema {
            columns: vec!["a".into(), "b.a".into(), "c".into()],
            label: Some("y".into()),
            ..Default::default()
        }));
        let mut events = Events::default();
        let text = json!(map).to_string();
        let scalar = |value: Option<&serde_json::Value>| !value.is_some_and(|v| v.is_array() || v.is_object());
        let wanted = [map.get("a"), map.get("b").and_then(|b| b.get("a")), map.get("c")];
        let good = wanted.iter().all(|v| scalar(*v)) && wanted.iter().any(|v| v.is_some());
        prop_assert_eq!(line(&mut *decoder, &text, false, &mut events).is_ok(), good, "{}", text);
        for (column, wanted) in wanted.iter().enumerate().filter(|_| good) {
            let value = events.get(0).value(column);
            match wanted {
                None | Some(serde_json::Value::Null) => prop_assert_eq!(value, Value::Missing),
                Some(serde_json::Value::Bool(b)) => prop_assert_eq!(value, Value::Number(f64::from(u8::from(*b)))),
                Some(serde_json::Value::String(s)) if matches!(value, Value::Number(n) if s.parse() == Ok(n)) => {}
                Some(serde_json::Value::String(s)) => prop_assert_eq!(value, Value::Text(s)),
                Some(number) => prop_assert_eq!(value, Value::Number(number.as_f64().unwrap())),
            }
        }
    }

    #[test]
    fn any_bytes_do_not_panic(lines: Vec<Vec<u8>>, text in "[{}\\[\\],:\"a-c0-9. ]{0,20}") {
        let mut decoder = made(Format::JsonLines, json!({}), None);
        let mut events = Events::default();
        for bytes in &lines {
            let _ = line(&mut *decoder, bytes, false, &mut events);
            let _ = line(&mut *decoder, &text, false, &mut events);
        }
        all(&events);
    }
}
