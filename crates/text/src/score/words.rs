//! Texts into words, as sacrebleu's tokenizers do it: mteval-v13a, mteval-v14 and Tercom.

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// What Python's `str.split` and `\s` take for white space: Unicode's, and four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Words with one space between them.
pub(super) fn joined(text: &str) -> String {
    split(text).collect::<Vec<_>>().join(" ")
}

/// Lower case where asked for, without the white space at the end.
pub(super) fn trimmed(text: &str, lowercase: bool) -> String {
    let text = text.trim_end_matches(is_space);
    if lowercase { text.to_lowercase() } else { text.to_owned() }
}

/// Python's `re.sub("([set])", r" \1 ", text)`.
pub(super) fn isolated(text: &str, is_in_set: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if is_in_set(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// Where the space of [`apart`] goes besides that between the two characters.
enum Space {
    Before,
    After,
}

/// Python's `re.sub("([first])([second])", r"\1 \2", text)`, with one more space before or after.
fn apart(
    text: &str,
    first: impl Fn(char) -> bool,
    second: impl Fn(char) -> bool,
    space: Space,
) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut chars = text.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.next_if(|&b| first(a) && second(b)) {
            Some(b) => match space {
                Space::Before => out.extend([' ', a, ' ', b]),
                Space::After => out.extend([a, ' ', b, ' ']),
            },
            None => out.push(a),
        }
    }
    out
}

fn unescaped(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let text = text.replace("&quot;", "\"").replace("&amp;", "&");
    text.replace("&lt;", "<").replace("&gt;", ">")
}

/// `[{-~[-` -&(-+:-@/]`: ASCII punctuation and the space, but `'`, `,`, `-`, `.`
fn is_punctuation(c: char) -> bool {
    matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/')
}

/// Full stops and commas are apart unless within numbers, and so are dashes after digits.
fn numbers_kept(text: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let is_mark = |c| matches!(c, '.' | ',');
    let text = apart(text, |c| !is_digit(c), is_mark, Space::After);
    let text = apart(&text, is_mark, |c| !is_digit(c), Space::Before);
    apart(&text, is_digit, |c| c == '-', Space::After)
}

/// `Tokenizer13a`: words are what lies between white space of the result.
pub(super) fn mteval_13a(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = format!(" {} ", unescaped(&text));
    numbers_kept(&isolated(&text, is_punctuation))
}

/// `TokenizerV14International`.
pub(super) fn international(text: &str) -> String {
    let text = apart(text, |c| !is_number(c), is_unicode_punctuation, Space::After);
    let text = apart(&text, is_unicode_punctuation, |c| !is_number(c), Space::Before);
    isolated(&text, is_symbol)
}

fn is_number(c: char) -> bool {
    let category = get_general_category(c);
    matches!(category, Category::DecimalNumber | Category::LetterNumber | Category::OtherNumber)
}

fn is_unicode_punctuation(c: char) -> bool {
    matches!(
        get_general_category(c),
        Category::ConnectorPunctuation
            | Category::DashPunctuation
            | Category::OpenPunctuation
            | Category::ClosePunctuation
            | Category::InitialPunctuation
            | Category::FinalPunctuation
            | Category::OtherPunctuation
    )
}

fn is_symbol(c: char) -> bool {
    matches!(
        get_general_category(c),
        Category::MathSymbol
            | Category::CurrencySymbol
            | Category::ModifierSymbol
            | Category::OtherSymbol
    )
}

/// `TercomTokenizer`'s normalization of Western texts.
pub(super) fn tercom(text: &str) -> String {
    let text = text.replace("\n-", "").replace('\n', " ");
    let text = isolated(&format!(" {} ", unescaped(&text)), is_punctuation);
    numbers_kept(&text.replace("'s ", " 's "))
}

/// What `TercomTokenizer` sets apart in Asian texts: ideographs and punctuation. Its rules for kana match
/// only a text without a space before it, which a normalized text always has.
pub(super) fn is_asian(c: char) -> bool {
    is_asian_punctuation(c)
        || matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{31c0}'..='\u{31ef}'
            | '\u{2e80}'..='\u{2eff}' | '\u{3300}'..='\u{33ff}' | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe4f}' | '\u{3200}'..='\u{3f22}')
}

pub(super) fn is_asian_punctuation(c: char) -> bool {
    matches!(c, '\u{3001}' | '\u{3002}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}'
        | '\u{ff61}'..='\u{ff65}' | '\u{30fb}' | '\u{ff0e}' | '\u{ff0c}' | '\u{ff1f}' | '\u{ff1a}'
        | '\u{ff1b}' | '\u{ff01}' | '\u{ff02}' | '\u{ff08}' | '\u{ff09}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_abbreviations_stay_whole() {
        let text = "Don't pay $1,000.50 in the U.S.-based &quot;shop&quot;, 5-6 times.";
        let want = "Don't pay $ 1,000.50 in the U . S . -based \" shop \" , 5 - 6 times .";
        assert_eq!(joined(&mteval_13a(text)), want);
        let want =
            "Don ' t pay $ 1,000.50 in the U . S . - based & quot ; shop & quot ; , 5 - 6 times .";
        assert_eq!(joined(&international(&text.replace("5-6", "5 - 6"))), want);
    }
}
