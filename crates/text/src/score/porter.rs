//! The Porter stemmer (Program 14.3, 1980) with NLTK's extensions, which rouge-score uses.

/// The stem of a word of lower-case ASCII letters and digits.
pub(super) fn stem(word: &str) -> String {
    if let Some(stem) = irregular(word) {
        return stem.to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    let mut word = step_1a(word);
    for step in [step_1b, step_1c, step_2, step_3, step_4, step_5a, step_5b] {
        word = step(&word);
    }
    word
}

fn irregular(word: &str) -> Option<&'static str> {
    Some(match word {
        "sky" | "skies" => "sky",
        "dying" => "die",
        "lying" => "lie",
        "tying" => "tie",
        "news" => "news",
        "innings" | "inning" => "inning",
        "outings" | "outing" => "outing",
        "cannings" | "canning" => "canning",
        "howe" => "howe",
        "proceed" => "proceed",
        "exceed" => "exceed",
        "succeed" => "succeed",
        _ => return None,
    })
}

/// Whether each letter is a consonant; `y` is one at the start and after a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        flags.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => flags.last().is_none_or(|&is_consonant| !is_consonant),
            _ => true,
        });
    }
    flags
}

/// How often a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| *pair == [false, true]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_with_double_consonant(word: &str) -> bool {
    match word.as_bytes() {
        [.., a, b] => a == b && consonants(word).last() == Some(&true),
        _ => false,
    }
}

/// Consonant, vowel, consonant other than w, x and y; or a word of vowel and consonant.
fn ends_cvc(word: &str) -> bool {
    match consonants(word)[..] {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

/// The first suffix that the word has is replaced, where the stem is such that it may be.
fn replaced(word: &str, rules: &[(&str, &str)], may: impl Fn(&str, &str) -> bool) -> String {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if may(stem, suffix) {
                format!("{stem}{replacement}")
            } else {
                word.to_owned()
            };
        }
    }
    word.to_owned()
}

fn step_1a(word: &str) -> String {
    let short = if word.len() == 4 { "ie" } else { "i" };
    let rules = [("sses", "ss"), ("ies", short), ("ss", "ss"), ("s", "")];
    replaced(word, &rules, |_, _| true)
}

fn step_1b(word: &str) -> String {
    if word.ends_with("ied") {
        let short = if word.len() == 4 { "ie" } else { "i" };
        return replaced(word, &[("ied", short)], |_, _| true);
    }
    if word.ends_with("eed") {
        return replaced(word, &[("eed", "ee")], |stem, _| measure(stem) > 0);
    }
    let stems = ["ed", "ing"].map(|suffix| word.strip_suffix(suffix));
    let Some(stem) = stems.into_iter().flatten().find(|stem| has_vowel(stem)) else {
        return word.to_owned();
    };
    if stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz") {
        return format!("{stem}e");
    }
    if ends_with_double_consonant(stem) {
        let is_single = !stem.ends_with(['l', 's', 'z']);
        return stem[..stem.len() - usize::from(is_single)].to_owned();
    }
    if measure(stem) == 1 && ends_cvc(stem) { format!("{stem}e") } else { stem.to_owned() }
}

fn step_1c(word: &str) -> String {
    let may = |stem: &str| stem.len() > 1 && consonants(stem).last() == Some(&true);
    replaced(word, &[("y", "i")], |stem, _| may(stem))
}

fn step_2(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("alli")
        && measure(stem) > 0
    {
        return step_2(&format!("{stem}al"));
    }
    let rules = [
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
        ("logi", "log"),
    ];
    // NLTK measures `geolog`, not `geo`, so that `geology` loses its end.
    replaced(word, &rules, |stem, suffix| match suffix {
        "logi" => measure(&word[..stem.len() + 1]) > 0,
        _ => measure(stem) > 0,
    })
}

fn step_3(word: &str) -> String {
    let rules = [
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ];
    replaced(word, &rules, |stem, _| measure(stem) > 0)
}

fn step_4(word: &str) -> String {
    let rules = [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion",
        "ou", "ism", "ate", "iti", "ous", "ive", "ize",
    ];
    replaced(word, &rules.map(|suffix| (suffix, "")), |stem, suffix| {
        measure(stem) > 1 && (suffix != "ion" || stem.ends_with(['s', 't']))
    })
}

fn step_5a(word: &str) -> String {
    replaced(word, &[("e", "")], |stem, _| match measure(stem) {
        0 => false,
        1 => !ends_cvc(stem),
        _ => true,
    })
}

fn step_5b(word: &str) -> String {
    replaced(word, &[("ll", "l")], |stem, _| measure(&word[..stem.len() + 1]) > 1)
}
