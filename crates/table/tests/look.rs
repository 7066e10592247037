//! What the start of a file says, and tables as other programs write them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{all, line, lines, looked, made, read};
use serde_json::json;
use tidemill_table::{Events, Format, FormatSpec, Label, Labels, Value, decoder, look, no_number};

#[test]
fn the_delimiter_is_found() {
    let (events, columns, notes) = read(Format::Csv, json!({}), "y;a\n1;2,5\n2;10,25\n3;9,75\n");
    assert_eq!((events[1].as_str(), columns), ("2 | 10.25", vec!["a".to_owned()]));
    assert_eq!(notes, ["fields are separated by `;`"]);
    for text in ["1,5;2,5;0\n2,5;1,5;1\n3,5;1,5;1\n", "1,5\t2,5\t0\n2,5\t1,5\t1\n1,5\t2\t0\n"] {
        assert_eq!(read(Format::Csv, json!({}), text).0[0], "0 | 1.5 2.5", "{text}");
    }
    let (events, ..) = read(Format::Csv, json!({}), "a|b|y\n1|x,z|0\n2|y|1\n");
    assert_eq!(events, ["0 | 1 'x,z'", "1 | 2 'y'"]);
    // Thousands, and numbers that have both.
    let (events, ..) =
        read(Format::Csv, json!({}), "y,a\n1,\"1,234\"\n2,\"10,000\"\n3,\"2,500.5\"\n");
    assert_eq!(events, ["1 | 1234", "2 | 10000", "3 | 2500.5"]);
    // A live stream decides by its first record, and remembers it.
    let mut live = made(Format::Csv, json!({}), None);
    let (events, _) = lines(&mut *live, "a;b;class\n1,5;2;0");
    assert_eq!(all(&events), ["0 | 1.5 2"]);
    let mut resumed = made(Format::Csv, json!({}), live.schema().cloned());
    let mut events = Events::default();
    line(&mut *resumed, "2,5;3;1", false, &mut events).unwrap();
    assert_eq!(all(&events), ["1 | 2.5 3"]);
}

#[test]
fn numbers_are_written_as_the_recipe_says() {
    let spec = json!({ "delimiter": ";", "decimal": ",", "thousands": "." });
    assert_eq!(
        read(Format::Csv, spec, "a;y\n1.234;0\n1.234,5;1\n7;1\n").0,
        ["0 | 1234", "1 | 1234.5", "1 | 7"]
    );
    // What groups digits needs no decimal beside it.
    for (sign, first, second) in [("'", "940'976.96", "1'000"), ("_", "940_976,96", "1_000")]
        .into_iter()
        .chain([(" ", "940 976,96", "1 000"), (".", "940.976,96", "1.000")])
    {
        let spec = json!({ "delimiter": ";", "thousands": sign });
        let (events, ..) = read(Format::Csv, spec, &format!("a;y\n{first};0\n{second};1\n"));
        assert_eq!(events, ["0 | 940976.96", "1 | 1000"], "{sign}");
    }
    let refused = |spec| {
        let spec: FormatSpec = serde_json::from_value(spec).unwrap();
        decoder(&spec, Format::Csv, None).err().unwrap().to_string()
    };
    assert!(refused(json!({ "decimal": ";" })).contains("stream.decimal must be \".\" or \",\""));
    assert!(refused(json!({ "thousands": "x" })).contains("stream.thousands must be"));
    let both = refused(json!({ "thousands": ".", "decimal": "." }));
    assert!(both.contains("stream.thousands and decimal are both '.'; leave one out"), "{both}");
    assert!(refused(json!({ "quote": "ab" })).contains("stream.quote must be one"));
}

#[test]
fn a_table_may_begin_with_titles() {
    let table = "a,b,class\n1,2,0\n3,4,1\n5,6,1\n";
    for title in ["# made by a tool\n", "Report of 2024\n\nsecond line\n"] {
        let (events, columns, notes) = read(Format::Csv, json!({}), &format!("{title}{table}"));
        assert_eq!((events.len(), columns.len()), (3, 2));
        assert!(
            notes[0].starts_with("lines before the table were passed over, the first of them `")
        );
    }
    assert_eq!(
        read(Format::Csv, json!({ "skip_rows": 2 }), &format!("x,y,z\n1,2,3\n{table}")).0.len(),
        3
    );
    // Live: one bad record, and then the table.
    let mut live = made(Format::Csv, json!({ "label": "class" }), None);
    let (events, bad) = lines(&mut *live, &format!("oops\n# comment\n{table}"));
    assert_eq!(events.len(), 3);
    assert_eq!(bad, ["a line of one field before the header or first row of a table is no row"]);
    assert!(live.notes()[0].to_string().ends_with("`oops` (2 times)"));
}

#[test]
fn titles_may_be_padded_with_delimiters() {
    let table = "town;size;class\nBonn;2,5;0\nKiel;4,5;1\nBonn;6,5;1\n";
    for title in ["Report 2024;;\n;;\n", "Report 2024;;\n\"by town\";;\n", ";;\r\nReport;;\r\n"] {
        let (events, columns, notes) = read(Format::Csv, json!({}), &format!("{title}{table}"));
        assert_eq!((events[0].as_str(), events.len()), ("0 | 'Bonn' 2.5", 3), "{title}");
        assert_eq!(columns, ["town", "size"]);
        assert!(notes.iter().any(|n| n.starts_with("lines before the table")), "{notes:?}");
    }
    // Rows with gaps are none: nothing below them looks like names.
    let gaps = "a;;;\n1;2;3;0\n2;4;6;1\n3;6;9;0\n";
    assert_eq!(read(Format::Csv, json!({ "header": false }), gaps).0.len(), 4);
    let gaps = "a;;;\nx;y;z;w\nz;y;x;w\ny;x;z;v\n";
    assert_eq!(read(Format::Csv, json!({ "header": false }), gaps).0.len(), 4);
    let gaps = "7;;;\nx;y;z;w\nz;y;x;w\ny;x;z;v\n";
    assert_eq!(read(Format::Csv, json!({}), gaps).0.len(), 4);
    let names = "a;b;class\nx;;0\ny;;1\nz;w;1\n";
    assert_eq!(read(Format::Csv, json!({}), names).0.len(), 3);
}

#[test]
fn headers_of_pandas_and_of_numbers() {
    let text = ",a,b,class\n0,1.5,2,0\n1,3.5,4,1\n2,5.5,6,1\n";
    for spec in [json!({}), json!({ "label": "class" })] {
        let (events, columns, notes) = read(Format::Csv, spec, text);
        assert_eq!(columns, ["a", "b"]);
        assert_eq!(events[0], "0 | 1.5 2");
        assert!(notes[0].starts_with("the first column has no name and is no input"), "{notes:?}");
    }
    let mut live = made(Format::Csv, json!({}), None);
    assert_eq!(all(&lines(&mut *live, text).0)[0], "0 | 1.5 2");
    let text = text.replacen(",a", "Unnamed: 0,a", 1);
    assert_eq!(read(Format::Csv, json!({}), &text).1, ["a", "b"]);
    // `0,1,2`, as pandas writes columns without names.
    let (events, columns, _) =
        read(Format::Csv, json!({}), "0,1,2\n0.5,2.5,1\n1.5,3.5,0\n0.25,1.5,0\n");
    assert_eq!((events.len(), columns.len()), (3, 2));
    assert_eq!(read(Format::Csv, json!({}), "0,1,class\n1,2,0\n3,4,1\n5,6,1\n").1, ["0", "1"]);
    assert_eq!(read(Format::Csv, json!({}), "0,1,2\n1,2,0\n0,4,1\n5,6,1\n").0.len(), 4, "rows");
}

#[test]
fn names_that_are_there_twice_or_not_at_all() {
    let (events, columns, notes) =
        read(Format::Csv, json!({ "label": "y.1" }), "y,a,y\n1,2,3\n4,5,6\n");
    assert_eq!(columns, ["y", "a"]);
    assert_eq!(events, ["3 | 1 2", "6 | 4 5"]);
    assert!(notes.iter().any(|n| n.contains("two columns are called `y`")), "{notes:?}");
    let (events, columns, _) = read(Format::Csv, json!({}), ",,x,y\n1,2,3,10\n4,5,6,20\n");
    assert_eq!(columns, ["c1", "c2", "x"]);
    assert_eq!(events, ["10 | 1 2 3", "20 | 4 5 6"]);
    let mut csv = made(Format::Csv, json!({ "label": "y" }), None);
    let bad = line(&mut *csv, "y,a,y", true, &mut Events::default()).unwrap_err();
    assert!(
        bad.fatal && bad.reason.contains("two columns are called `y`, which stream names"),
        "{bad}"
    );
}

#[test]
fn texts_that_look_like_numbers_stay_texts() {
    let text = "id,zip,n,class\n58e67456,02134,1,0\n1e3,12345,2,1\n1000,00501,3,1\nInfinity,99999,4,0\nabc,10000,5,1\n";
    let (events, ..) = read(Format::Csv, json!({}), text);
    assert_eq!(
        events,
        [
            "0 | '58e67456' '02134' 1",
            "1 | '1e3' '12345' 2",
            "1 | '1000' '00501' 3",
            "0 | 'Infinity' '99999' 4",
            "1 | 'abc' '10000' 5",
        ]
    );
    // Live: what the first event shows.
    let mut live = made(Format::Csv, json!({}), None);
    let (events, bad) = lines(&mut *live, text);
    assert!(bad.is_empty());
    assert_eq!(all(&events)[1..3], ["1 | '1e3' '12345' 2", "1 | '1000' '00501' 3"]);
    let mut resumed = made(Format::Csv, json!({}), live.schema().cloned());
    let mut more = Events::default();
    line(&mut *resumed, "2e3,00001,7,1", false, &mut more).unwrap();
    assert_eq!(all(&more), ["1 | '2e3' '00001' 7"]);
}

#[test]
fn quoted_fields_go_on_in_the_next_line() {
    let text = "a,note,class\n1,\"one\ntwo, three\n\",0\n2,x,1\n3,\"stray,0\n4,y,1\n5,\"z\n";
    let mut csv = made(Format::Csv, json!({}), None);
    let (events, lost) = lines(&mut *csv, text);
    assert_eq!(all(&events), ["0 | 1 'one\ntwo, three\n'", "1 | 2 'x'", "1 | 4 'y'"]);
    assert_eq!(
        lost,
        [
            "a quoted field has no closing quote: `3,\\\"stray,0`",
            "a quoted field has no closing quote: `5,\\\"z`"
        ]
    );
    // Other quotes, and none.
    let (events, ..) = read(Format::Csv, json!({ "quote": "'" }), "a,t,y\n1,'x,y',0\n2,\"z,1\n");
    assert_eq!(events, ["0 | 1 'x,y'", "1 | 2 '\"z'"]);
    let (events, ..) = read(Format::Csv, json!({ "quote": "" }), "t,y\n\"a,1\n\"b\",0\n");
    assert_eq!(events, ["1 | '\"a'", "0 | '\"b\"'"]);
    // Between tabs a quote is mostly a character.
    let (events, ..) =
        read(Format::Tsv, json!({}), "t\ty\n\"Hi\" she said\t1\n\"open\t0\n\"x\"\t1\n");
    assert_eq!(events, ["1 | '\"Hi\" she said'", "0 | '\"open'", "1 | 'x'"]);
}

#[test]
fn missing_values_of_other_programs() {
    let (events, ..) =
        read(Format::Csv, json!({}), "a,y\n1,0\n#N/A,1\nNaN,0\n\\N,1\nNone,0\n<NA>,1\n");
    assert_eq!(events, ["0 | 1", "1 | ?", "0 | ?", "1 | ?", "0 | ?", "1 | ?"]);
    let spec = json!({ "missing": ["-999"] });
    let (events, ..) = read(Format::Csv, spec.clone(), "a,y\n-999,0\n-999.0,1\n5,-999\n");
    assert_eq!(events, ["0 | ?", "1 | ?", "? | 5"]);
    let (events, ..) = read(
        Format::JsonLines,
        spec,
        "{\"a\": -999, \"b\": 1, \"y\": 0}\n{\"a\": \"-999\", \"b\": 2, \"y\": 1}\n",
    );
    assert_eq!(events, ["0 | ? 1", "1 | ? 2"]);
    let text = "{\"a\": NaN, \"b\": 1, \"y\": 0}\n{\"a\": 1.5, \"b\": 4, \"y\": 1}\n";
    assert_eq!(read(Format::JsonLines, json!({ "columns": ["a", "b"] }), text).0[0], "0 | ? 1");
}

#[test]
fn numbers_in_quotes_are_numbers_in_json() {
    let text = "{\"a\": \"1.5\", \"zip\": \"02134\", \"t\": \"x\", \"y\": \"1\"}\n{\"a\": \"2\", \"zip\": \"10000\", \"t\": \"7\", \"y\": \"0\"}\n";
    let want = ["1 | 1.5 '02134' 'x'", "0 | 2 '10000' '7'"];
    assert_eq!(read(Format::JsonLines, json!({}), text).0, want);
    let mut live = made(Format::JsonLines, json!({}), None);
    assert_eq!(all(&lines(&mut *live, text).0), want);
    // So are truth values, as of Redis, also of a live stream; as a label each is a name.
    let text = "{\"a\": \"True\", \"y\": \"true\"}\n{\"a\": \"false\", \"y\": \"no\"}\n{\"a\": true, \"y\": \"no\"}\n";
    let want = ["'true' | 1", "'no' | 0", "'no' | 1"];
    assert_eq!(read(Format::JsonLines, json!({}), text).0, want);
    let mut live = made(Format::JsonLines, json!({}), None);
    assert_eq!(all(&lines(&mut *live, text).0), want);
    // Not of a column that is said to be text.
    let (events, ..) = read(Format::JsonLines, json!({ "text": ["a"] }), text);
    assert_eq!(events, ["'true' | 'True'", "'no' | 'false'", "'no' | 'true'"]);
    // Labels of 64 bits are distinguished by their digits.
    let text = "{\"a\": 1, \"y\": 9007199254740993}\n{\"a\": 1, \"y\": 9007199254740992}\n";
    assert_eq!(
        read(Format::JsonLines, json!({}), text).0,
        ["'9007199254740993' | 1", "'9007199254740992' | 1"]
    );
    let (events, ..) =
        read(Format::Csv, json!({}), "a,y\n1,9007199254740993\n2,9007199254740992\n");
    assert_eq!(events, ["'9007199254740993' | 1", "'9007199254740992' | 2"]);
}

#[test]
fn keys_are_those_of_most_events() {
    let rest = "{\"a\": 1, \"b\": 2, \"label\": 0}\n".repeat(30);
    let text = format!("{{\"b\": 2, \"label\": 1}}\n{{\"A\": 1, \"b\": 2, \"label\": 1}}\n{rest}");
    let (events, columns, notes) = read(Format::JsonLines, json!({}), &text);
    assert_eq!((columns, events.len()), (vec!["b".to_owned(), "a".to_owned()], 32));
    assert!(notes.iter().any(|n| n == "key `A` is no input and is ignored"), "{notes:?}");
    let spec = json!({ "columns": ["a", "b"] });
    let mut live = made(Format::JsonLines, spec, None);
    let (events, bad) =
        lines(&mut *live, "{\"A\": 1, \"B\": 2, \"label\": 0}\n{\"a\": 1, \"label\": 0}");
    assert_eq!((events.len(), bad.len()), (1, 1));
    assert_eq!(bad, ["none of the keys that are inputs is there (a, b)"]);
}

#[test]
fn a_live_stream_does_not_begin_with_an_event_that_lacks_inputs() {
    let spec = FormatSpec { wants: Some(2), ..FormatSpec::default() };
    let mut live = decoder(&spec, Format::JsonLines, None).unwrap();
    let text = "{\"a\": 1, \"label\": 0}\n{\"a\": 1, \"b\": 2, \"label\": 0}";
    let (events, bad) = lines(&mut *live, text);
    assert_eq!(events.len(), 1);
    assert!(bad[0].starts_with("the event has 1 inputs (a) and the model 2"), "{bad:?}");
}

#[test]
fn texts_that_are_not_utf_8() {
    let text = b"name,y\ncaf\xe9,1\nplain,0\n\x93q\x94,0\n";
    let found = looked(Format::Csv, json!({}), text);
    assert_eq!(all(&found.events), ["1 | 'caf\u{e9}'", "0 | 'plain'", "0 | '\u{201c}q\u{201d}'"]);
    let json = b"{\"name\": \"caf\xe9\", \"y\": 1}\n";
    assert_eq!(all(&looked(Format::JsonLines, json!({}), json).events), ["1 | 'caf\u{e9}'"]);
    let mut strict = made(Format::Csv, json!({ "encoding": "utf-8" }), None);
    let mut events = Events::default();
    line(&mut *strict, "name,y", true, &mut events).unwrap();
    let bad = line(&mut *strict, &text[7..13], false, &mut events).unwrap_err();
    assert_eq!(bad.reason, "column `name`: `caf\u{fffd}` is not UTF-8");
    let mark = "\u{feff}a,y\n1,2\n3,4\n";
    assert_eq!(read(Format::Csv, json!({}), mark).1, ["a"]);
}

#[test]
fn rows_of_moa_and_weka() {
    let text = "@relation r\n@attribute a numeric\n@attribute b numeric\n@attribute class {0,1}\n@data\n1,2,0,\n3,4,1\n5,6,1,{2.5}\n";
    let mut arff = made(Format::Arff, json!({}), None);
    let (events, bad) = lines(&mut *arff, text);
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(all(&events), ["0 | 1 2", "1 | 3 4", "1 | 5 6 | ? 2.5"]);
    let mut csv = made(Format::Csv, json!({}), None);
    let (events, bad) = lines(&mut *csv, "a,b,y\n1,2,0,\n3,4,1");
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(events.len(), 2);
}

#[test]
fn a_header_that_comes_again_and_booleans() {
    let text = "a,b,y\n1,true,0\n2,False,1\na,b,y\n3,TRUE,1\n";
    assert_eq!(read(Format::Csv, json!({}), text).0, ["0 | 1 1", "1 | 2 0", "1 | 3 1"]);
    let labels = looked(Format::Csv, json!({}), b"a,y\n1,true\n2,false\n").labels;
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), ["false", "true"]);
}

#[test]
fn a_name_that_is_also_a_value_of_its_column_does_not_hide_a_header() {
    let spam = "len,caps,spam\n3,1,spam\n2,0,ham\n5,1,spam\n4,2,ham\n";
    for spec in [json!({}), json!({ "label": "spam" })] {
        let (events, columns, _) = read(Format::Csv, spec, spam);
        assert_eq!((events.len(), columns), (4, vec!["len".to_owned(), "caps".to_owned()]));
    }
    let (events, columns, _) =
        read(Format::Csv, json!({}), "x,z,flag\n1,z,yes\n2,q,no\n3,z,yes\n4,r,no\n");
    assert_eq!((events.len(), columns), (4, vec!["x".to_owned(), "z".to_owned()]));
    // No header: values that come again, also where the first number is broken.
    let rows = "red,small,yes\nblue,large,no\nred,large,yes\nblue,small,no\n";
    assert_eq!(read(Format::Csv, json!({}), rows).0.len(), 4);
    assert_eq!(read(Format::Csv, json!({}), "1o5,red\n17,blue\n12,red\n15,blue\n").0.len(), 4);
}

#[test]
fn an_input_that_is_called_like_a_label_is_noted() {
    let (_, columns, notes) = read(Format::Csv, json!({}), "a,label,class\n1,2,0\n2,3,1\n");
    assert_eq!(columns, ["a", "label"]);
    assert!(
        notes[0].starts_with("column `label` is an input beside the label `class`"),
        "{notes:?}"
    );
}

#[test]
fn rows_may_end_early_where_many_do() {
    let rows: String = (0..30)
        .map(|i| if i % 3 == 0 { format!("{i},1\n") } else { format!("{i},2,3\n") })
        .collect();
    let (events, _, notes) = read(Format::Csv, json!({ "label": "y" }), &format!("y,a,b\n{rows}"));
    assert_eq!((events.len(), events[0].as_str()), (30, "0 | 1 ?"));
    assert_eq!(notes, ["rows end before the last column; what is not there is missing (10 times)"]);
    let (events, ..) = read(Format::Tsv, json!({ "label": "y" }), "y\ta\tb\n1\t2\n0\t3\t4\n");
    assert_eq!(events, ["1 | 2 ?", "0 | 3 4"]);
    // A single short row is a bad one, and so is one without its label.
    let mut csv = made(Format::Csv, json!({}), None);
    assert_eq!(lines(&mut *csv, "a,b,y\n1,2,3\n4,5").1.len(), 1);
}

#[test]
fn a_model_with_fewer_inputs_takes_the_keys_that_more_events_have() {
    let one = |a: &str, b: &str| format!("{{\"{a}\": 1, \"{b}\": 2, \"label\": 0}}\n");
    let text = one("A", "B") + &one("a", "b").repeat(3);
    let spec = FormatSpec { wants: Some(2), ..FormatSpec::default() };
    let found = look(text.as_bytes(), true, &spec, Format::JsonLines).unwrap();
    assert_eq!(found.spec.inputs, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(found.events.len(), 3);
}

#[test]
fn a_decimal_comma_and_what_is_between_fields() {
    let comma = |text: &str, more: serde_json::Value| {
        let mut spec = json!({ "decimal": "," });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec: FormatSpec = serde_json::from_value(spec).unwrap();
        look(text.as_bytes(), true, &spec, Format::Csv).map_err(|e| e.to_string())
    };
    // Each row has a comma more than semicolons, as a table of prices and remarks may have.
    let text = "price;remark;y\n1,5;good, cheap;a\n2,5;bad, dear;b\n3,5;none, so far;a\n";
    let found = comma(text, json!({})).unwrap();
    assert_eq!(found.spec.delimiter, Some(';'));
    assert_eq!(found.events.get(1).value(0), Value::Number(2.5));
    assert_eq!(comma("a\tb\n1,5\t2\n2,5\t3\n", json!({})).unwrap().spec.delimiter, Some('\t'));
    // Decimals in quotes, as some programs write them with a comma between fields.
    let quoted = comma("a,y\n\"1,5\",x\n\"2,5\",y\n", json!({})).unwrap();
    assert_eq!(quoted.events.get(0).value(0), Value::Number(1.5));
    // Commas alone may be either.
    let unclear = comma("a,b,y\n1,5,x\n2,5,y\n", json!({})).unwrap_err();
    assert!(unclear.contains("say what is between fields in stream.delimiter"), "{unclear}");
    assert!(comma("a,b,y\n1,5,x\n2,5,y\n", json!({ "delimiter": "," })).is_ok());
}

#[test]
fn labels_of_json_that_are_true_or_false_have_those_names() {
    let lines = b"{\"a\": 1, \"y\": true}\n{\"a\": 2, \"y\": false}\n{\"a\": 2, \"y\": \"true\"}\n";
    let found = looked(Format::JsonLines, json!({ "label": "y" }), lines);
    assert_eq!(found.labels.iter().collect::<Vec<_>>(), ["false", "true"]);
    // As numbers they are 1 and 0.
    assert_eq!(Labels::number(found.events.get(0).label()), Some(1.0));
    let mut values = Labels::values(false);
    assert_eq!(values.encode(found.events.get(1).label()).unwrap(), Some(Label::Value(0.0)));
    let binary = Labels::Binary.transform(found.events.get(0).label()).unwrap();
    assert_eq!(binary, Some(Label::Class(1)));
}

#[test]
fn numbers_that_are_too_large_are_said_to_be() {
    assert_eq!(no_number("1e30"), "no number up to 1e19");
    assert_eq!(no_number("-2e19"), "no number up to 1e19");
    assert_eq!(no_number("abc"), "no number");
    let error = Labels::values(true).encode(Value::Number(1e30)).unwrap_err();
    assert_eq!(error.reason, "label 1e30 is beyond 1e19 (the largest number taken)");
}

#[test]
fn commas_in_numbers_between_bars() {
    let rows: String =
        (0..30).map(|i| format!("{},{}|0,5{i}|{}\n", 2000 + i, i * 3, 100 * i)).collect();
    let head = format!("a|b|y\n{rows}");
    let found = looked(Format::Csv, json!({}), head.as_bytes());
    assert_eq!((found.spec.delimiter, found.spec.header), (Some('|'), Some(true)));
    assert_eq!(found.names, ["a", "b", "y"]);
}
