//! VW text, libsvm and ARFF as events.
#![allow(clippy::unwrap_used)]

mod common;

use common::{all, line, lines, made};
use proptest::prelude::*;
use serde_json::json;
use tidemill_table::{Events, Feature, Format, Value};

fn features(text: &str) -> Vec<(u32, f32)> {
    let mut vw = made(Format::Vw, json!({}), None);
    let mut events = Events::default();
    line(&mut *vw, text, false, &mut events).unwrap();
    events.get(0).sparse().iter().map(|f: &Feature| (f.hash, f.value)).collect()
}

#[test]
fn vw_features_are_hashed_as_vw_does() {
    // Names of digits are numbers, with the namespace's hash added.
    assert_eq!(features("1 | 7 12:0.5 0:0"), [(7, 1.0), (12, 0.5)]);
    assert_eq!(features("1 |3 7"), [(10, 1.0)]);
    // A namespace's scale counts for numbers; features without a name are counted.
    assert_eq!(features("|5:2 1 2:3 :4 :5"), [(6, 2.0), (7, 6.0), (5, 8.0), (6, 10.0)]);
    // Text values are hashed with their name's hash as the seed.
    let chained = features("| color:red");
    let seed = features("| color")[0].0;
    assert_eq!(chained, [(common::murmur3(b"red", seed), 1.0)]);
    // The same name in two namespaces is two features.
    let both = features("1 |a x |b x");
    assert_eq!(both[0].0, common::murmur3(b"x", common::murmur3(b"a", 0)));
    assert_eq!(both[1].0, common::murmur3(b"x", common::murmur3(b"b", 0)));
}

/// What `vowpalwabbit` 9.11.9 for Python has in its examples with `-b 24`.
#[test]
fn vw_features_are_those_of_vw_itself() {
    let mask = (1 << 24) - 1;
    for (text, expected) in [
        (
            "1 | price sqft:0.5 12:3 0012 4294967297",
            vec![(13337102, 1.0), (8551461, 0.5), (12, 3.0), (12, 1.0), (1, 1.0)],
        ),
        (
            "1 |house price:2 12 color:red 7:blue :3 :4 :text",
            vec![
                (14622873, 2.0),
                (16468314, 1.0),
                (1644055, 1.0),
                (10322277, 1.0),
                (553339214 & mask, 3.0),
                (553339215 & mask, 4.0),
                (2195979, 1.0),
            ],
        ),
        (
            "1 |house:2.5 price:2 color:red bare empty:",
            vec![(14622873, 5.0), (1644055, 1.0), (11018838, 2.5), (12915254, 1.0)],
        ),
        ("1 |12 3 abc |  price:0", vec![(15, 1.0), (2693766, 1.0)]),
        ("|a x y|b x", vec![(5822600, 1.0), (2926431, 1.0), (9580497, 1.0)]),
        (
            "1 2 'tag|\tu a\tb:2 x",
            vec![(2112224, 1.0), (2451890, 1.0), (14581251, 2.0), (10132251, 1.0)],
        ),
        ("1 |\u{e4} \u{fc}:2", vec![(6963550, 2.0)]),
        (
            "1 |n 12a:3 a:1e-3 b:-.5 c:+2",
            vec![(2841132, 3.0), (10278962, 0.001), (9408482, -0.5), (9238554, 2.0)],
        ),
    ] {
        let found: Vec<_> = features(text).into_iter().map(|(h, v)| (h & mask, v)).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn vw_labels_weights_and_tags() {
    let mut vw = made(Format::Vw, json!({}), None);
    let (events, bad) = lines(
        &mut *vw,
        "1 | 1\n-1 2.5 | 1\n0.5 2 0 'tag|9 1\n| 1\ntag| 1\n'two | 1\n\n1 x | 1\n1 1 3 | 1\n1 -2 | 1\n1\n1 | a:nan\n1 |",
    );
    assert_eq!(
        all(&events),
        [
            "1 | 1:1",
            "-1 | 1:1 | ? 2.5",
            "0.5 | 10:1 | 'tag' 2",
            "? | 1:1",
            "? | 1:1 | 'tag' 1",
            "? | 1:1 | 'two' 1",
            "1 | ",
        ]
    );
    assert_eq!(
        bad,
        [
            "importance `x` is no number",
            "base 3: only 0 can be learned from",
            "importance -2 must be at least 0 and finite",
            "no `|` before features: `1`",
            "feature `a:NaN` has no finite number as its value",
        ]
    );
}

#[test]
fn libsvm_indices_are_the_hashes() {
    let mut libsvm = made(Format::Libsvm, json!({}), None);
    let (events, bad) = lines(
        &mut *libsvm,
        "+1 3:0.5 10:-2e3 # noise 4:4\n-1\n1:1 qid:4 2:0\ncat 5:1\n? 6:1\n# nothing\n\n1 x:1\n1 1:\n1 4294967296:1\n1 5",
    );
    assert_eq!(all(&events), ["1 | 3:0.5 10:-2000", "-1 | ", "? | 1:1", "'cat' | 5:1", "? | 6:1"]);
    assert_eq!(bad.len(), 4, "{bad:?}");
    assert_eq!(bad[0], "`x:1` is no `index:value` with a whole index");
    assert_eq!(bad[1], "feature `1:` has no finite number as its value");
}

const ARFF: &str = "% iris and more\n@RELATION test\n\n@attribute 'sepal length' REAL\n\
    @attribute color {'dark red', blue}\n@attribute note string\n@attribute class {0,1}\n@data\n";

#[test]
fn arff_rows_are_typed_by_their_header() {
    let mut arff = made(Format::Arff, json!({}), None);
    let rows = "5.1,'dark red',\"it's\",0\n ?, blue , 'a\\'b, c' ,1\n{0 2, 3 1}\n{ }\n{1 blue,2 ?}\n\
        5,blue,x\nfive,blue,x,0\n{7 1}\n{0 1\n5,blue,x,0,1";
    let (events, bad) = lines(&mut *arff, &format!("{ARFF}{rows}"));
    assert_eq!(
        all(&events),
        [
            "0 | 5.1 'dark red' 'it's'",
            "1 | ? 'blue' 'a'b, c'",
            "1 | 2 'dark red' 0",
            "0 | 0 'dark red' 0",
            "0 | 0 'blue' ?",
        ]
    );
    assert_eq!(
        bad,
        [
            "the row has fewer than 4 values",
            "column `sepal length`: `five` is no number",
            "`7 1}` does not begin with an index from 0 to 3",
            "a sparse row has no `}` at its end",
            "the row has more than 4 values",
        ]
    );
    let schema = arff.schema().unwrap().clone();
    assert_eq!(schema.columns, ["sepal length", "color", "note"]);
    // Goes on in the middle, and with another file of the same columns.
    let mut arff = made(Format::Arff, json!({}), Some(schema));
    let mut events = Events::default();
    line(&mut *arff, "1,blue,x,1", false, &mut events).unwrap();
    assert_eq!(all(&events), ["1 | 1 'blue' 'x'"]);
    let other = "@relation b\n@attribute class {0,1}\n@attribute note string\n\
        @attribute color {blue}\n@attribute 'sepal length' numeric\n@data\n1,x,blue,2";
    let (events, bad) = lines(&mut *arff, other);
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(all(&events), ["1 | 2 'blue' 'x'"]);
    let (_, bad) = lines(&mut *arff, "@relation c\n@attribute class {0,1}\n@data\n1");
    assert!(bad[0].contains("no column `sepal length`"), "{bad:?}");
    assert!(bad[1].contains("no column `sepal length`"), "{bad:?}");
}

proptest! {
    #[test]
    fn any_bytes_do_not_panic(
        bytes in proptest::collection::vec(any::<Vec<u8>>(), 0..4),
        text in "[@{}|:#'\"\\\\, a0-9?]{0,24}",
    ) {
        for format in [Format::Vw, Format::Libsvm, Format::Arff] {
            let mut decoder = made(format, json!({}), None);
            lines(&mut *decoder, if format == Format::Arff { ARFF } else { "" });
            let mut events = Events::default();
            for bytes in bytes.iter().map(Vec::as_slice).chain([text.as_bytes()]) {
                let _ = line(&mut *decoder, bytes, false, &mut events);
                let _ = line(&mut *decoder, [b"{", bytes].concat(), false, &mut events);
                let _ = line(&mut *decoder, [b"@attribute ", bytes].concat(), false, &mut events);
                let _ = line(&mut *decoder, [b"1 |", bytes].concat(), false, &mut events);
            }
            all(&events);
        }
    }

    #[test]
    fn sparse_features_come_back(
        label: f32,
        features in proptest::collection::btree_map(any::<u32>(), any::<f32>(), 0..9),
    ) {
        let kept: Vec<_> =
            features.into_iter().filter(|(_, v)| v.is_finite() && *v != 0.0).collect();
        let written: String = kept.iter().map(|(i, v)| format!(" {i}:{v}")).collect();
        for (format, text) in [
            (Format::Libsvm, format!("{label}{written}")),
            (Format::Vw, format!("{label} |{written}")),
        ] {
            let mut decoder = made(format, json!({}), None);
            let mut events = Events::default();
            line(&mut *decoder, &text, false, &mut events).unwrap();
            let read = events.get(0);
            let found: Vec<_> = read.sparse().iter().map(|f| (f.hash, f.value)).collect();
            prop_assert_eq!(found, kept.clone());
            let Value::Number(number) = read.label() else { panic!() };
            prop_assert!(number as f32 == label || label.is_nan());
        }
    }

    #[test]
    fn arff_texts_come_back(text in "[^\\x00-\\x1f]{0,12}", number: f64) {
        prop_assume!(number.is_finite());
        let mut arff = made(Format::Arff, json!({}), None);
        lines(&mut *arff, ARFF);
        let mut events = Events::default();
        let quoted = text.replace('\\', "\\\\").replace('\'', "\\'");
        line(&mut *arff, format!("{number},blue,'{quoted}',1"), false, &mut events).unwrap();
        prop_assert_eq!(events.get(0).value(0), Value::Number(number));
        prop_assert_eq!(events.get(0).value(2), Value::Text(&text));
    }
}
