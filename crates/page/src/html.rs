//! The frame of a page, its cards, escaped text.

use std::fmt::Write;

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

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as base64 (RFC 4648), for pictures inside a page.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |w, &b| w << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// The processor's name and how many cores it has, for the page's "machine".
pub fn machine() -> (String, usize) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    (name.map_or_else(|| "processor unknown".into(), |(_, n)| n.trim().to_string()), cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
        assert_eq!(base64(b"any carnal pleasu"), "YW55IGNhcm5hbCBwbGVhc3U=");
    }
}
