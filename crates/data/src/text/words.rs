//! The words of a text and their ids.
//!
//! Words are runs of letters and digits (Unicode), in lower case. A word's id is its hash, from 1 on
//! ("hashing trick", Weinberger et al. 2009), so that nothing has to be fitted and a stream may bring
//! words that were never seen; two words may share an id. Id 0 stands for a text without words, and
//! fills up batches.

/// The words of a text, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The id of a word, `1 .. vocabulary`; 0 if the vocabulary has no room.
pub fn id(word: &str, vocabulary: usize) -> i32 {
    match vocabulary.checked_sub(1) {
        None | Some(0) => 0,
        Some(rows) => 1 + (hash(word.as_bytes()) % rows as u64) as i32,
    }
}

/// Appends the ids of a text's words to `out`, at most `most`; a single 0 if it has none. Returns the
/// number of words that were cut off.
pub fn append_ids(text: &str, vocabulary: usize, most: usize, out: &mut Vec<i32>) -> usize {
    let start = out.len();
    let mut cut = 0;
    for word in words(text) {
        match out.len() - start < most {
            true => out.push(id(&word, vocabulary)),
            false => cut += 1,
        }
    }
    if out.len() == start {
        out.push(0);
    }
    cut
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo), its bits mixed so that its rest by any number is even.
fn hash(bytes: &[u8]) -> u64 {
    let h = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let h = (h ^ (h >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    h ^ (h >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let all: Vec<String> = words("Don't PANIC, it's 42 – Größe 10km!").collect();
        assert_eq!(all, ["don", "t", "panic", "it", "s", "42", "größe", "10km"]);
    }

    #[test]
    fn ids_are_the_same_for_ever_and_leave_0_to_the_padding() {
        assert_eq!((id("tide", 1000), id("mill", 1000)), (id("tide", 1000), id("mill", 1000)));
        assert!((0..500).all(|i| (1..1000).contains(&id(&i.to_string(), 1000))));
        let mut ids = Vec::new();
        assert_eq!(append_ids("one two three", 1000, 2, &mut ids), 1);
        assert_eq!(ids, [id("one", 1000), id("two", 1000)]);
        ids.clear();
        assert_eq!(append_ids(" -- ", 1000, 2, &mut ids), 0);
        assert_eq!(ids, [0]);
    }

    #[test]
    fn ids_are_spread_evenly() {
        let mut counts = vec![0; 100];
        (0..10_000).for_each(|i| counts[id(&format!("w{i}"), 101) as usize - 1] += 1);
        // 100 each, with a deviation of 10.
        assert!(counts.iter().all(|n| (55..150).contains(n)), "{counts:?}");
    }
}
