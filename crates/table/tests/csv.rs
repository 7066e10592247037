//! CSV as events.
#![allow(clippy::unwrap_used)]

mod common;

use common::{all, line, lines, made, real};
use proptest::prelude::*;
use serde_json::json;
use tidemill_table::formats::names;
use tidemill_table::{Events, Format, FormatSpec, decoder};

#[test]
fn a_header_names_columns_and_label() {
    let mut csv = made(Format::Csv, json!({}), None);
    let (events, bad) = lines(&mut *csv, "a,class,b\n1,up,2.5\n-3e2,down,\n\n,\"up\",NA");
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(all(&events), ["'up' | 1 2.5", "'down' | -300 ?", "'up' | ? ?"]);
    let schema = csv.schema().unwrap();
    assert_eq!(schema.columns, ["a", "b"]);
    assert_eq!(schema.label.as_deref(), Some("class"));
}

#[test]
fn without_a_header_the_last_column_is_the_label() {
    let mut csv = made(Format::Csv, json!({}), None);
    let text = "39, State-gov, 77516, <=50K\r\n50, ?, 83311, <=50K";
    let (events, _) = lines(&mut *csv, text);
    assert_eq!(all(&events), ["'<=50K' | 39 'State-gov' 77516", "'<=50K' | 50 ? 83311"]);
    assert_eq!(csv.schema().unwrap().columns, ["c1", "c2", "c3"]);
}

#[test]
fn roles_are_given_by_name() {
    let spec =
        json!({ "label": "y", "id": "key", "weight": "w", "ignore": ["junk"], "text": ["zip"] });
    let mut csv = made(Format::Csv, spec, None);
    let (events, bad) = lines(&mut *csv, "y,key,w,junk,zip,x\n1,007,0.5,zzz,01234,9\n0,8,-1,z,1,1");
    assert_eq!(all(&events), ["1 | '01234' 9 | '007' 0.5"]);
    assert_eq!(bad, ["column `w`: weight -1 must be at least 0 and finite"]);
}

#[test]
fn quotes_are_those_of_rfc_4180() {
    let mut csv = made(Format::Csv, json!({ "header": false }), None);
    let (events, bad) = lines(
        &mut *csv,
        "\"a,b\",\"say \"\"hi\"\"\" , 1\n\"\",\"\"\"\",\"2\"\n\"open,1,2\n\"a\"b,1,2\na\"b\",1,2",
    );
    assert_eq!(all(&events), ["1 | 'a,b' 'say \"hi\"'", "2 | ? '\"'", "2 | 'a\"b\"' '1'"]);
    assert_eq!(
        bad,
        [
            "a quoted field has no closing quote: `\\\"open,1,2`",
            "column `c1`: `b,1,2` follows a closing quote; a quote within a field is doubled",
        ]
    );
}

#[test]
fn rows_of_a_wrong_width_are_bad_and_leave_nothing() {
    let mut csv = made(Format::Csv, json!({}), None);
    let (events, bad) = lines(&mut *csv, "a,b,y\n1,x,3\n1,yy\n1,z,3,4,5\n4,w,6\n1,2,");
    assert_eq!(all(&events), ["3 | 1 'x'", "6 | 4 'w'", "? | 1 '2'"]);
    assert_eq!(bad, ["the row has 2 fields, expected 3", "the row has 5 fields, expected 3"]);
}

#[test]
fn a_label_that_is_not_there_is_fatal() {
    let mut csv = made(Format::Csv, json!({ "label": "clas" }), None);
    let bad = line(&mut *csv, "a,b,class", true, &mut Events::default()).unwrap_err();
    assert!(bad.fatal);
    assert_eq!(bad.reason, "stream.label: no column `clas`; the columns are a, b, class");
}

#[test]
fn a_later_file_may_order_its_columns_otherwise() {
    let mut csv = made(Format::Csv, json!({}), None);
    lines(&mut *csv, "a,b,y\n1,2,3");
    let (events, bad) = lines(&mut *csv, "y,b,more,a\n3,2,9,1");
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(all(&events), ["3 | 1 2"]);
    // Goes on in the middle of that file, after a restart.
    let schema = csv.schema().cloned();
    let mut csv = made(Format::Csv, json!({}), schema);
    let mut events = Events::default();
    line(&mut *csv, "30,20,90,10", false, &mut events).unwrap();
    assert_eq!(all(&events), ["30 | 10 20"]);
    // A file without the column `a` is refused as a whole, and the next one is good again.
    let (events, bad) = lines(&mut *csv, "b,y\n1,2");
    assert!(events.is_empty());
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad[0].contains("no column `a`"), "{bad:?}");
    let (events, _) = lines(&mut *csv, "a,b,y\n1,2,3");
    assert_eq!(all(&events), ["3 | 1 2"]);
}

#[test]
fn other_delimiters_and_text_that_is_not_utf8() {
    let mut tsv =
        made(Format::Tsv, json!({ "columns": ["label", "text"], "encoding": "utf-8" }), None);
    let mut events = Events::default();
    line(&mut *tsv, "ham\tGo, until \"jurong\"", true, &mut events).unwrap();
    let bad = line(&mut *tsv, b"ham\tcaf\xe9", false, &mut events).unwrap_err();
    assert_eq!(bad.reason, "column `text`: `caf\u{fffd}` is not UTF-8");
    assert_eq!(all(&events), ["'ham' | 'Go, until \"jurong\"'"]);
    let mut csv = made(Format::Csv, json!({ "delimiter": ";" }), None);
    let (events, _) = lines(&mut *csv, "1;2\n3,5;4");
    assert_eq!(all(&events), ["2 | 1", "4 | 3.5"]);
}

#[test]
fn keys_that_do_not_go_together_are_refused() {
    let refused = |format, spec| {
        let spec: FormatSpec = serde_json::from_value(spec).unwrap();
        decoder(&spec, format, None).err().unwrap().to_string()
    };
    let text = refused(Format::Csv, json!({ "delimiter": "5" }));
    assert!(text.contains("stream.delimiter must be one ASCII character"), "{text}");
    let text = refused(Format::Csv, json!({ "columns": ["a", "a"] }));
    assert_eq!(text, "stream.columns: `a` is there twice");
    let text = refused(Format::JsonLines, json!({ "delimiter": ";" }));
    assert!(text.contains("leave it out"), "{text}");
    assert_eq!(Format::by_name("x/elec.CSV.gz"), Some(Format::Csv));
    assert_eq!(Format::by_name("http://host/a.ndjson?x=1.csv"), Some(Format::JsonLines));
    assert_eq!(Format::by_name("nats://host/subject"), None);
}

#[test]
fn real_streams_decode_whole() {
    for (name, columns, count) in [
        ("electricity/elec2_8.csv.gz", 8, 45_312),
        ("weather_noaa/weather.csv.gz", 8, 18_159),
        ("adult_census/adult.data.gz", 14, 32_561),
        ("kddcup99/corrected.gz", 41, 50_000),
        ("metro_traffic/Metro_Interstate_Traffic_Volume.csv.gz", 8, 48_204),
    ] {
        let Some(bytes) = real(name) else { continue };
        let text = String::from_utf8(bytes).unwrap();
        // Half a million rows of KDD-99 take long without optimization.
        let end = text.match_indices('\n').nth(49_999).map_or(text.len(), |(end, _)| end);
        let text = &text[..end];
        let mut csv = made(Format::Csv, json!({}), None);
        let (events, bad) = lines(&mut *csv, text);
        assert!(bad.is_empty(), "{name}: {:?}", &bad[..bad.len().min(3)]);
        assert_eq!((events.len(), csv.schema().unwrap().columns.len()), (count, columns), "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_do_not_panic(rows: Vec<Vec<u8>>, text in "[ab,\"0-9. ]{0,20}") {
        let mut csv = made(Format::Csv, json!({}), None);
        let mut events = Events::default();
        for (i, row) in rows.iter().enumerate() {
            let _ = line(&mut *csv, row, i % 3 == 0, &mut events);
            let _ = line(&mut *csv, &text, false, &mut events);
        }
        all(&events);
    }

    #[test]
    fn rows_come_back(rows in proptest::collection::vec(("[^\\x00-\\x1f]{0,9}", any::<f64>()), 1..9)) {
        let mut csv = made(
            Format::Csv,
            json!({ "header": false, "columns": ["a", "y"], "text": ["a"], "missing": [] }),
            None,
        );
        let mut events = Events::default();
        for (text, number) in &rows {
            let quoted = text.replace('"', "\"\"");
            line(&mut *csv, format!("\"{quoted}\",{number:?}"), false, &mut events).unwrap();
        }
        for (i, (text, number)) in rows.iter().enumerate() {
            let event = events.get(i);
            prop_assert_eq!(event.value(0), tidemill_table::Value::Text(text));
            match event.label() {
                tidemill_table::Value::Number(read) => prop_assert_eq!(read, *number),
                _ => prop_assert!(!number.is_finite()),
            }
        }
    }
}

#[test]
fn what_reads_as_a_number_may_stand_for_a_missing_value() {
    let mut csv = made(Format::Csv, json!({ "missing": ["-999", "NaN", "none"] }), None);
    let (events, bad) = lines(&mut *csv, "a,b,y\n-999,NaN,1\n-99.9,none,\n \"-999\",2,-999");
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(all(&events), ["1 | ? ?", "'' | -99.9 ?", "? | ? 2"]);
}

#[test]
fn the_names_of_a_row_before_anything_else_is_known() {
    let named = |spec: serde_json::Value, row: &str| {
        let spec: FormatSpec = serde_json::from_value(spec).unwrap();
        names(&spec, Format::Csv, row.as_bytes()).map(|(names, _)| names).map_err(|bad| bad.reason)
    };
    let own = |names: &[&str]| Ok(names.iter().map(|n| n.to_string()).collect());
    assert_eq!(named(json!({}), "\u{feff}a,\"b,c\"\r"), own(&["a", "b,c"]));
    assert_eq!(named(json!({}), "1,b"), own(&["c1", "c2"]));
    assert_eq!(named(json!({ "columns": ["x", "y"] }), "1,b"), own(&["x", "y"]));
    assert_eq!(named(json!({ "header": true }), "a,a,,"), own(&["a", "a.1", "c3", "c4"]));
}

#[test]
fn a_file_without_header_may_lack_its_label() {
    let mut csv = made(Format::Csv, json!({ "label": "c2" }), None);
    lines(&mut *csv, "1,yes,2");
    let schema = csv.schema().unwrap().clone();
    let spec = FormatSpec { unlabelled: true, ..FormatSpec::default() };
    let mut csv = decoder(&spec, Format::Csv, Some(schema)).unwrap();
    let (events, bad) = lines(&mut *csv, "3,4\n5,6\n7,8,9");
    assert_eq!(all(&events), ["? | 3 4", "? | 5 6"]);
    assert_eq!(bad, ["the row has 3 fields, expected 2"]);
    let (events, _) = lines(&mut *csv, "3,4\n1,2");
    assert_eq!(events.len(), 2, "another file");
}
