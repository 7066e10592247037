//! Alignments equal jiwer's, which `fixtures/alignments.py` asked.

#![allow(clippy::unwrap_used)]

use super::{Alignment, Chunk, Edit, ErrorRate, Unit};

type Case = (Unit, String, String, Vec<(Edit, usize, usize, usize, usize)>, String);

#[test]
fn alignments_equal_jiwer() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/alignments.json");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 100);
    for (unit, hypothesis, reference, chunks, shown) in cases {
        let found = Alignment::new(&hypothesis, &reference, unit);
        let want = chunks.iter().map(|&(edit, r, r_end, h, h_end)| Chunk {
            edit,
            reference: r..r_end,
            hypothesis: h..h_end,
        });
        assert_eq!(found.chunks, want.collect::<Vec<_>>(), "{hypothesis:?}, {reference:?}");
        assert_eq!(found.to_string(), shown, "{hypothesis:?}, {reference:?}");
        let mut counted = ErrorRate::new(unit);
        counted.add(&hypothesis, &reference);
        assert_eq!(found.score(), counted.score(), "{hypothesis:?}, {reference:?}");
    }
}

/// Texts whose table would be too large are cut in two.
#[test]
fn long_texts_are_aligned_in_little_memory() {
    let mut state = 1_u32;
    let mut word = |kinds: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % kinds
    };
    let reference: Vec<u32> = (0..4200).map(|_| word(50)).collect();
    let mut hypothesis = reference.clone();
    for i in (7..4200).step_by(31) {
        hypothesis[i] = 77;
    }
    hypothesis.drain(100..130);
    let text = |words: &[u32]| words.iter().map(|w| format!("{w} ")).collect::<String>();
    let found = Alignment::new(&text(&hypothesis), &text(&reference), Unit::Words);
    let mut counted = ErrorRate::new(Unit::Words);
    counted.add(&text(&hypothesis), &text(&reference));
    let errors = |s: super::ErrorRateScore| s.substitutions + s.deletions + s.insertions;
    assert_eq!(errors(found.score()), errors(counted.score()));
    let last = found.chunks.last().unwrap();
    assert_eq!((last.reference.end, last.hypothesis.end), (4200, 4170));
}
