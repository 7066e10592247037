//! Hats among a table's inputs.
#![allow(clippy::unwrap_used)]

mod common;

use common::{bits, encode, encoder, events, saved};
use serde_json::json;
use tidemill_table::{Encoder, Evidence, FeaturesSpec, HATS};

/// Hats come after all inputs but rows of embeddings, and say where a number is among the column's.
#[test]
fn hats_are_inputs_of_their_own() {
    let mut text = "a,id,b,kind,y\n".to_owned();
    for i in 0..200 {
        let a = if i % 41 == 5 { String::new() } else { (i * 37 % 100).to_string() };
        text += &format!("{a},u{},{},k{},0\n", i % 9, i % 2, i % 3);
    }
    let data = events(&text);
    let given = json!({
        "missing_indicator": true, "text": { "dictionary": { "capacity": 3 } },
        "categorical": { "id": { "embedding": { "capacity": 20 } } },
    });
    let plain = encoder(given.clone(), &data);
    let spec: FeaturesSpec = serde_json::from_value(given).unwrap();
    let spec = FeaturesSpec { hats: Some(HATS), ..spec };
    let mut with = Encoder::new(&spec, &data.1, &data.0).unwrap();
    let (mut without, base, hats) = (plain, 2 + 2 + 4, 2 * HATS);
    assert_eq!((without.width(), with.width()), (base + 1, base + hats + 1));
    assert_eq!((with.num_numbers(), with.names().len()), (2, base + hats + 1));
    assert_eq!(&with.names()[base..base + 2], ["a near -2.33", "a near -1.15"]);
    assert_eq!(with.kinds()[0].inputs, 2 + HATS);
    for i in 0..200 {
        let (few, many) =
            (encode(&mut without, &data.0, i).unwrap(), encode(&mut with, &data.0, i).unwrap());
        assert_eq!(bits(&few[..base]), bits(&many[..base]));
        assert_eq!(few[base], many[base + hats]);
        let (a, b) = many[base..base + hats].split_at(HATS);
        let wanted = if i % 41 == 5 || i < 2 { 0.0 } else { 1.0 };
        assert!((a.iter().sum::<f32>() - wanted).abs() < 1e-6, "{i}: {a:?}");
        // Two values are no more than their number says.
        assert!(b.iter().all(|w| *w == 0.0), "{i}: {b:?}");
        if i == 100 {
            with = saved(&with);
        }
    }
    // Of a table in memory, and of one that was fitted.
    let mut evidence = Evidence::new(&spec, &data.1);
    (0..200).for_each(|i| evidence.add(data.0.get(i)));
    for encoder in [with, Encoder::fit(&spec, &data.1, &evidence).unwrap()] {
        let mut codes = encoder.codes(200);
        (0..200).for_each(|i| encoder.code(data.0.get(i), &mut codes).unwrap());
        let (mut coded, mut asked) = (vec![0.0; encoder.width()], vec![0.0; encoder.width()]);
        for i in 0..200 {
            codes.fill(i, &mut coded);
            encoder.transform(data.0.get(i), &mut asked).unwrap();
            assert_eq!(bits(&coded), bits(&asked), "{i}");
            assert_eq!(asked[base..base + HATS].iter().any(|w| *w > 0.0), i % 41 != 5, "{i}");
            assert!(asked[base + HATS..base + hats].iter().all(|w| *w == 0.0), "{i}");
        }
    }
}
