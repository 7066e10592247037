//! Numbers and text on a page.

use std::fmt::Write;

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// As it is.
    Plain,
    /// A share, in percent.
    Percent,
}

/// The start of a page; `title` and what follows are HTML.
pub(super) fn start(page: &mut String, title: &str, style: &str) {
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title} - tidemill</title><style>{style}</style></head><body><main>"
    );
}

/// Cards of name, figure and note.
pub(super) fn cards(page: &mut String, cards: &[(String, String, String)]) {
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

pub(super) fn escape(text: &str) -> String {
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

/// `12,345`
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

pub(super) fn value(v: f64, scale: Scale) -> String {
    match scale {
        Scale::Percent => format!("{:.2}<small>&thinsp;%</small>", 100.0 * v),
        Scale::Plain => plain(v),
    }
}

/// Four significant digits.
pub(super) fn plain(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if !(1e-4..1e6).contains(&a) => format!("{v:.2e}"),
        a if a >= 1000.0 => format!("{v:.0}"),
        a if a >= 100.0 => format!("{v:.1}"),
        a if a >= 10.0 => format!("{v:.2}"),
        a if a >= 0.1 => format!("{v:.4}"),
        _ => format!("{v:.5}"),
    }
}

/// `1 epoch`, `2 epochs`
pub(super) fn plural(n: u64, name: &str) -> String {
    format!("{} {name}{}", count(n), if n == 1 { "" } else { "s" })
}

pub(super) fn megabytes(bytes: u64) -> String {
    let mb = bytes as f64 / 1e6;
    match mb {
        1000.0.. => format!("{:.2} GB", mb / 1000.0),
        0.1.. => format!("{mb:.1} MB"),
        _ => format!("{:.1} KB", mb * 1000.0),
    }
}

pub(super) fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn base64(bytes: &[u8]) -> String {
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
