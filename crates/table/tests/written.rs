//! Numbers with signs, spaces and other texts beside them, as a look at the start of a file finds them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{all, line, lines, looked, made, read};
use serde_json::json;
use tidemill_table::{Events, Format, FormatSpec, decoder, look};

/// The events of rows of two columns, `a` and a label, and the notes.
fn rows(spec: serde_json::Value, values: &[&str]) -> (Vec<String>, Vec<String>) {
    let rows: String =
        (0..12).map(|i| format!("{}\t{}\n", values[i % values.len()], i % 3)).collect();
    let (events, _, notes) = read(Format::Tsv, spec, &format!("a\ty\n{rows}"));
    (events, notes)
}

#[test]
fn signs_beside_numbers_are_found() {
    let (events, notes) = rows(json!({}), &["$1,234.50", "-$3", "7"]);
    assert_eq!(events[..3], ["0 | 1234.5", "1 | -3", "2 | 7"]);
    assert!(
        notes[0].starts_with("`$` is no part of numbers, as in `$1,234.50` of column `a`"),
        "{notes:?}"
    );
    assert_eq!(rows(json!({}), &["68.7 %", "5%"]).0[..2], ["0 | 68.7", "1 | 5"]);
    let (events, notes) = rows(json!({}), &["70%", "0.94"]);
    assert!(
        events[0] == "0 | '70%'" && notes[0].contains("some of its values are in per cent"),
        "{notes:?}"
    );
    let (events, _) = rows(json!({ "decimal": "," }), &["68,7\u{a0}€", "5 €"]);
    assert_eq!(events[..2], ["0 | 68.7", "1 | 5"]);
    // What may be something else is a text, unless the recipe says so.
    let (events, notes) = rows(json!({}), &["5 kg", "12 kg"]);
    assert!(
        events[0] == "0 | '5 kg'" && notes[0].contains("set units = [\"kg\"] in [stream]"),
        "{notes:?}"
    );
    assert_eq!(rows(json!({ "units": ["kg"] }), &["5 kg", "12 kg"]).0[1], "1 | 12");
    let (events, notes) = rows(json!({}), &["$5", "€12"]);
    assert!(
        events[0] == "0 | '$5'" && notes[0].contains("have different units (`$`, `€`)"),
        "{notes:?}"
    );
    let (events, notes) = rows(json!({ "text": ["a"] }), &["$5", "$12"]);
    assert!(events[0] == "0 | '$5'" && notes.is_empty(), "{notes:?}");
    let json = "{\"a\": \"$5\", \"y\": 1}\n".repeat(9);
    let (events, _, notes) = read(Format::JsonLines, json!({}), &json);
    assert!(events[0] == "1 | '$5'" && notes[0].contains("write them without `$`"), "{notes:?}");
    // The unit stays that of the file from which the columns were learned.
    let look = looked(Format::Tsv, json!({}), "a\ty\n$5\t1\n".repeat(9).as_bytes());
    let mut first = decoder(&look.spec, Format::Tsv, None).unwrap();
    lines(&mut *first, "a\ty\n$5\t1\n");
    let mut resumed = made(Format::Tsv, json!({}), first.schema().cloned());
    let mut events = Events::default();
    line(&mut *resumed, "$7\t1", false, &mut events).unwrap();
    assert_eq!(all(&events), ["1 | 7"]);
}

#[test]
fn spaces_between_digits_are_found() {
    let (events, notes) = rows(json!({}), &["34 432", "1 234 567", "512"]);
    assert_eq!(events[..3], ["0 | 34432", "1 | 1234567", "2 | 512"]);
    assert!(notes[0].starts_with("spaces group thousands in numbers, as in `34 432`"), "{notes:?}");
    // Those of French programs can be nothing else.
    let (events, notes) = rows(json!({}), &["34\u{202f}432", "1\u{a0}234,5"]);
    assert!(events[..2] == ["0 | 34432", "1 | 1234.5"] && notes.is_empty(), "{events:?} {notes:?}");
    assert_eq!(rows(json!({}), &["12 34", "5 6"]).0[0], "0 | '12 34'");
}

#[test]
fn a_text_that_is_mostly_numbers_is_said() {
    let (events, notes) = rows(json!({}), &["5", "6", "."]);
    assert_eq!(events[0], "0 | '5'");
    let want = "column `a` is text, as 4 of its 12 values are no numbers, such as `.`; if it is one of numbers, say which texts are \
                missing values in `missing`";
    assert_eq!(notes, [want]);
    assert_eq!(rows(json!({ "missing": ["."] }), &["5", "6", "."]).0[2], "2 | ?");
    assert_eq!(rows(json!({}), &["5", "6", "#DIV/0!"]).0[..3], ["0 | 5", "1 | 6", "2 | ?"]);
    assert!(rows(json!({}), &["02134", "12345"]).1.is_empty(), "codes");
}

#[test]
fn carriage_returns_alone_are_refused() {
    let spec: FormatSpec = serde_json::from_value(json!({})).unwrap();
    let error = look(b"a,y\r1,2\r3,4\r", true, &spec, Format::Csv).unwrap_err().to_string();
    assert!(
        error.contains("end with carriage returns alone") && error.contains("tr '\\r' '\\n'"),
        "{error}"
    );
}

#[test]
fn one_character_has_one_meaning() {
    let spec = json!({ "thousands": ";", "delimiter": ";" });
    let spec: FormatSpec = serde_json::from_value(spec).unwrap();
    let error = decoder(&spec, Format::Csv, None).err().unwrap().to_string();
    assert!(error.contains("thousands and delimiter are both ';'"), "{error}");
    let spec: FormatSpec = serde_json::from_value(json!({ "units": ["5"] })).unwrap();
    let error = decoder(&spec, Format::Csv, None).err().unwrap().to_string();
    assert!(error.contains("units: \"5\" is none"), "{error}");
}

#[test]
fn rows_of_r_have_names() {
    let text = "\"a\"\t\"city\"\t\"y\"\n\"1\"\t2.5\t\"Ulm\"\t0\n\"2\"\t3.5\t\"Graz\"\t1\n\"3\"\t4\t\"Ulm\"\t0\n";
    let (events, columns, notes) = read(Format::Tsv, json!({}), text);
    assert_eq!(columns, ["a", "city"]);
    assert_eq!(events, ["0 | 2.5 'Ulm'", "1 | 3.5 'Graz'", "0 | 4 'Ulm'"]);
    assert!(notes[0].starts_with("the first column has no name and is no input"), "{notes:?}");
    // A delimiter in a field is no name of a row.
    let rows = "a,city,y\n2.5,'Ulm, AT',0\n3.5,'Graz, AT',1\n4.5,'Ulm, AT',0\n";
    assert!(looked(Format::Csv, json!({}), rows.as_bytes()).events.is_empty());
}

#[test]
fn rows_with_another_delimiter_say_so() {
    let mut known = made(Format::Csv, json!({ "delimiter": ";" }), None);
    lines(&mut *known, "a;b;y\n1;2;0");
    let (_, bad) = lines(&mut *known, "1,2,0");
    assert!(
        bad[0].contains(
            "fields are separated by `,` here, and by `;` where the columns were learned"
        ),
        "{bad:?}"
    );
}

#[test]
fn a_header_in_another_order_counts_for_what_follows() {
    let text = "a,b,y\n1,2,0\nb,a,y\n3,4,1\ny,b,a\n1,6,5\n";
    let mut file = made(Format::Csv, json!({ "label": "y" }), None);
    let (events, bad) = lines(&mut *file, text);
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(all(&events), ["0 | 1 2", "1 | 4 3", "1 | 5 6"]);
    // Under a header of numbers it is a row.
    let mut numbers = made(Format::Csv, json!({}), None);
    let (events, bad) = lines(&mut *numbers, "0,1,2\n1,0,2\n2,1,0\n");
    assert_eq!((all(&events), bad), (vec!["2 | 1 0".to_owned(), "0 | 2 1".to_owned()], vec![]));
    // Of several senders whose rows come between each other's it would not be known which rows it is of.
    let spec: FormatSpec = serde_json::from_value(json!({ "label": "y" })).unwrap();
    let mut live = decoder(&FormatSpec { live: true, ..spec }, Format::Csv, None).unwrap();
    let (events, bad) = lines(&mut *live, "a,b,y\n1,2,0\nb,a,y\n2,1,0\n");
    assert!(
        bad[0].contains("in another order (b,a,y) than the rows of this stream (a,b,y)"),
        "{bad:?}"
    );
    assert_eq!(all(&events), ["0 | 1 2", "0 | 2 1"]);
}
