use std::sync::LazyLock;

use super::lattice::{Expected, LENGTH_BITS};
use super::*;
use crate::tokenizer::{Tokenizer, TokenizerSpec};

const LINES: [&str; 5] = [
    "A man in a green shirt runs over the field, and a man in a red shirt runs with him.",
    "Ein Mann im grünen Hemd läuft über die Wiese; ein Hund läuft mit dem Mann im roten Hemd.",
    "the dog's running, running and running over the green field",
    "Zwei Männer und ein Mann laufen über die grüne Wiese 👍🏽",
    "zwei Hunde laufen mit den Männern über das Feld",
];

fn lines() -> impl Iterator<Item = &'static str> {
    LINES.into_iter().cycle().take(50)
}

fn trained(vocabulary: usize, character_coverage: f64) -> Tokenizer {
    let spec = TokenizerSpec::Unigram(UnigramSpec { vocabulary, character_coverage });
    Tokenizer::train(&spec, &mut lines()).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<i32> {
    let mut ids = Vec::new();
    assert_eq!(tokenizer.encode(text, &mut ids), 0);
    ids
}

#[test]
fn the_vocabulary_has_its_size() {
    for vocabulary in [300, 320, 350] {
        let tokenizer = trained(vocabulary, 1.0);
        assert_eq!(tokenizer.vocabulary(), vocabulary);
        let special = tokenizer.special();
        assert_eq!([special.pad, special.unknown], [Some(0), Some(1)]);
        assert_eq!([special.begin, special.end], [Some(2), Some(3)]);
        assert_eq!(tokenizer.token(4), Some("<0x00>"));
        assert_eq!(tokenizer.token(259), Some("<0xFF>"));
    }
    // The texts have no more that comes again.
    let most = trained(8000, 1.0).vocabulary();
    assert!((400..2000).contains(&most), "{most}");
    // The most frequent characters have the places that there are.
    assert_eq!(trained(261, 1.0).token(260), Some("▁"));
}

#[test]
fn frequent_words_are_tokens() {
    let spec = UnigramSpec { vocabulary: 360, character_coverage: 1.0 };
    let mut lines = lines().chain(["<0x14>"]);
    let tokenizer = Tokenizer::train(&TokenizerSpec::Unigram(spec), &mut lines).unwrap();
    let tokens = |text: &str| {
        let ids = ids(&tokenizer, text);
        let tokens = ids.iter().map(|&id| tokenizer.token(id).unwrap_or_default());
        tokens.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(tokens("Mann im Feld"), "▁Mann ▁im ▁Feld");
    // The name of a byte is text where its characters have tokens; what has no token is bytes.
    assert_eq!(tokens("<0x41>é"), "▁ < 0 x 4 1 > <0xC3> <0xA9>");
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let spec = UnigramSpec { vocabulary: 330, ..UnigramSpec::default() };
    let [one, three, many] =
        [1, 3, 64].map(|threads| unigram_by(&spec, &mut lines(), threads).unwrap());
    assert_eq!(one, three);
    assert_eq!(one, many);
}

#[test]
fn scores_are_on_the_grid() {
    let tokenizer = trained(350, 1.0);
    let file: serde_json::Value = serde_json::from_str(&tokenizer.to_json()).unwrap();
    let vocabulary = file["model"]["vocab"].as_array().unwrap();
    let scores: Vec<f64> =
        vocabulary[260..].iter().map(|entry| entry[1].as_f64().unwrap()).collect();
    assert!(scores.iter().all(|score| (score * GRID).fract() == 0.0 && *score < 0.0));
    assert!(scores.is_sorted_by(|a, b| a >= b));
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    assert!((0.8..1.01).contains(&sum), "{sum}");
}

#[test]
fn what_is_wrong_is_said() {
    for (spec, texts, expected) in [
        (
            r#"{"unigram":{"vocabulary":260}}"#,
            &LINES[..],
            "unigram.vocabulary = 260 must be from 261",
        ),
        (r#"{"unigram":{"character_coverage":0.0}}"#, &LINES, "unigram.character_coverage = 0"),
        (r#"{"unigram":{"character_coverage":1.5}}"#, &LINES, "at most 1"),
        (r#"{"unigram":{}}"#, &["", ""], "the training texts are empty"),
    ] {
        let spec: TokenizerSpec = serde_json::from_str(spec).unwrap();
        let error = Tokenizer::train(&spec, &mut texts.iter().copied()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Each way to make a segment: its pieces.
fn ways(lattice: &Lattice, start: usize, end: usize) -> Vec<Vec<usize>> {
    if start == end {
        return vec![Vec::new()];
    }
    let edges = &lattice.edges[lattice.offsets[end - 1] as usize..lattice.offsets[end] as usize];
    let mut all = Vec::new();
    for edge in edges {
        let (piece, length) = (edge >> LENGTH_BITS, edge & ((1 << LENGTH_BITS) - 1));
        if length as usize > end - start {
            continue;
        }
        for mut way in ways(lattice, start, end - length as usize) {
            way.push(piece as usize);
            all.push(way);
        }
    }
    all
}

#[test]
fn what_is_expected_is_the_sum_over_all_ways() {
    let texts = ["abab abc abc ab bcab bcab", "cab abab"];
    let segments = Segments::new(&mut texts.into_iter(), 1.0, 100).unwrap();
    let (lattice, scores) = seeds::seed(&segments);
    let mut expected = vec![0.0; scores.len()];
    let mut log_likelihood = 0.0;
    let mut best_counts = vec![0; scores.len()];
    for (range, &count) in lattice.starts.windows(2).zip(&lattice.counts) {
        let ways = ways(&lattice, range[0] as usize, range[1] as usize);
        let score = |way: &Vec<usize>| way.iter().map(|&piece| scores[piece]).sum::<f64>();
        let all: f64 = ways.iter().map(|way| score(way).exp()).sum();
        log_likelihood += count as f64 * all.ln();
        for way in &ways {
            way.iter().for_each(|&piece| expected[piece] += count as f64 * score(way).exp() / all);
        }
        let best = ways.iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
        best.iter().for_each(|&piece| best_counts[piece] += count);
    }
    let Expected { pieces, log_likelihood: found } = lattice.expect(&scores, 2);
    assert!((found - log_likelihood).abs() < 1e-9, "{found} {log_likelihood}");
    let close = pieces.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(close, "{pieces:?} {expected:?}");
    assert_eq!(lattice.best(&scores, 2), best_counts);
    // Without a piece: the best of the other ways to make it.
    for (piece, found) in lattice.alternatives(&scores, 2).into_iter().enumerate() {
        let lattice::Piece { place, length } = lattice.pieces[piece];
        let start = place as usize;
        let others = ways(&lattice, start, start + length as usize);
        let score = |way: &Vec<usize>| way.iter().map(|&piece| scores[piece]).sum::<f64>();
        let others = others.iter().filter(|way| **way != [piece]).map(score);
        let best = others.max_by(f64::total_cmp);
        assert_eq!(found.is_some(), best.is_some());
        if let (Some((found, parts)), Some(best)) = (found, best) {
            assert!((found - best).abs() < 1e-9 && parts.len() > 1);
        }
    }
}

#[test]
fn pieces_that_are_left_out_are_in_no_edge() {
    let segments = Segments::new(&mut lines(), 1.0, 100).unwrap();
    let (mut lattice, _) = seeds::seed(&segments);
    let letters = lattice.letters as u32;
    let places: Vec<_> = lattice.pieces.clone();
    let kept: Vec<u32> =
        (0..letters).chain((letters..places.len() as u32).filter(|piece| piece % 3 == 0)).collect();
    let all = |lattice: &Lattice| lattice.edges.len();
    let before = all(&lattice);
    lattice.retain(&kept);
    assert!(all(&lattice) < before);
    assert_eq!(*lattice.offsets.last().unwrap() as usize, all(&lattice));
    let expected: Vec<_> = kept.iter().map(|&piece| places[piece as usize]).collect();
    assert_eq!(lattice.pieces, expected);
    assert!(lattice.edges.iter().all(|edge| {
        let piece = lattice.pieces[(edge >> LENGTH_BITS) as usize];
        u32::from(piece.length) == edge & ((1 << LENGTH_BITS) - 1)
    }));
}

#[test]
fn digamma_has_its_values() {
    for (x, expected) in [
        (0.5, -1.963_510_026_021_423_5),
        (1.0, -0.577_215_664_901_532_9),
        (10.0, 2.251_752_589_066_721),
        (1e6, 13.815_510_057_964_19),
    ] {
        assert!((digamma(x) - expected).abs() < 1e-9, "{x}: {}", digamma(x));
    }
}

proptest::proptest! {
    #[test]
    fn any_text_comes_back(text in "\\PC*|.*") {
        static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| trained(330, 0.99));
        let tokenizer = &*TOKENIZER;
        // The mark of a space is one.
        proptest::prop_assert_eq!(tokenizer.decode(&ids(tokenizer, &text)), text.replace('▁', " "));
    }
}
