//! The frame of a page, its cards, escaped text.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The style sheet of all pages.
pub const STYLE: &str = include_str!("style.css");

/// The start of a page; `title` and what follows are HTML.
pub fn start(page: &mut String, title: &str) {
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title} - tidemill</title><style>{STYLE}</style></head><body><main>"
    );
}

/// Cards of name, figure and note.
pub fn cards(page: &mut String, cards: &[(String, String, String)]) {
    page.push_str("<section class=\"cards\">");
    for (name, figure, note) in cards {
        let _ = write!(
            page,
            "<div class=\"card\"><span class=\"name\">{name}</span>\
             <span class=\"figure\">{figure}</span><span class=\"note\">{note}</span></div>"
        );
    }
    page.push_str("</section>");
}

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// Bytes as base64 (RFC 4648), for pictures and sounds inside a page.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The processor's name and how many cores it has, for the page's "machine".
pub fn machine() -> (String, usize) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    (name.map_or_else(|| "processor unknown".into(), |(_, n)| n.trim().to_string()), cores)
}

/// The command line of this process, for a page: quoted as a shell wants it, and without the names and passwords of
/// addresses.
pub fn command() -> String {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = words.map(|word| quoted(&without_credentials(&word)));
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

/// An address without what is before its host: `redis://ann:secret@host/key` becomes `redis://***@host/key`.
pub fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let host = rest.split('/').next().unwrap_or_default();
    match host.rsplit_once('@') {
        Some((credentials, _)) => format!("{scheme}://***{}", &rest[credentials.len()..]),
        None => address.to_owned(),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=,@%+*".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_show_no_passwords() {
        let shown = [
            ("redis://ann:secret@host:6379/key", "redis://***@host:6379/key"),
            ("nats://s3cr@t@host/s", "nats://***@host/s"),
            ("http://host/a@b", "http://host/a@b"),
            ("runs/a@b", "runs/a@b"),
        ];
        for (given, want) in shown {
            assert_eq!(without_credentials(given), want);
        }
        assert_eq!(quoted("batch.epochs=3"), "batch.epochs=3");
        assert_eq!(quoted("it's [1]"), "'it'\\''s [1]'");
        assert!(!command().is_empty() && !command().contains('/'), "{}", command());
    }

    /// The colours of one of the two `:root` blocks of the style sheet.
    fn colours(block: &str) -> std::collections::HashMap<&str, [f64; 3]> {
        let pairs =
            block.split(';').filter_map(|one| one.trim().strip_prefix("--")?.split_once(':'));
        let hex = |text: &str| {
            let digits = text.strip_prefix('#')?;
            let wide: String = match digits.len() {
                3 => digits.chars().flat_map(|c| [c, c]).collect(),
                _ => digits.to_owned(),
            };
            let part =
                |i: usize| u8::from_str_radix(wide.get(2 * i..2 * i + 2)?, 16).ok().map(f64::from);
            Some([part(0)?, part(1)?, part(2)?])
        };
        let parts = |text: &str| {
            let parts: Vec<f64> = text.split(',').filter_map(|part| part.parse().ok()).collect();
            <[f64; 3]>::try_from(parts).ok()
        };
        pairs
            .filter_map(|(name, value)| Some((name, hex(value).or_else(|| parts(value))?)))
            .collect()
    }

    /// The contrast of two colours by WCAG 2: at least 4.5 where one of them is text.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let luminance = |colour: [f64; 3]| {
            let linear = colour.map(|v| {
                let v = v / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn texts_are_readable_in_light_and_dark() {
        let blocks: Vec<&str> =
            STYLE.split(":root{").skip(1).filter_map(|rest| rest.split('}').next()).collect();
        assert_eq!(blocks.len(), 2);
        for block in blocks {
            let colours = colours(block);
            let number = |name: &str| -> f64 {
                let rest = block.split(name).nth(1).unwrap_or_default();
                rest.trim_start_matches(':')
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .parse()
                    .unwrap_or(0.0)
            };
            for (text, behind) in [
                ("ink", "bg"),
                ("ink", "panel"),
                ("ink", "grid"),
                ("soft", "bg"),
                ("soft", "panel"),
                ("soft", "grid"),
                ("valid", "bg"),
                ("wrong", "panel"),
            ] {
                let found = contrast(colours[text], colours[behind]);
                assert!(found >= 4.5, "{text} on {behind}: {found:.2} in {block}");
            }
            // Text over the strongest colours of the cells, as the style sheet mixes them with the panel.
            for (over, strength) in [("miss", 0.1 + number("--most")), ("hit", 0.52)] {
                let mixed =
                    |i: usize| strength * colours[over][i] + (1.0 - strength) * colours["panel"][i];
                let found = contrast(colours["ink"], [mixed(0), mixed(1), mixed(2)]);
                assert!(found >= 4.5, "{over}: {found:.2} in {block}");
            }
            // Lines are no texts: 3 is asked of them.
            for i in 0..8 {
                let found = contrast(colours[format!("run{i}").as_str()], colours["panel"]);
                assert!(found >= 3.0, "run{i}: {found:.2} in {block}");
            }
        }
    }

    #[test]
    fn base64_of_rfc_4648() {
        assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
        assert_eq!(base64(b"any carnal pleasu"), "YW55IGNhcm5hbCBwbGVhc3U=");
    }
}
