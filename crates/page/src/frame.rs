//! What all drawings have in common: a figure with its title, and axes with round numbers and names.

use std::fmt::Write;

use crate::html::escape;
use crate::number::{Scale, percent, plain};

// The drawing's own units; the page scales it to its column. Small, so that text stays readable
// on a narrow screen.
pub(crate) const WIDTH: f64 = 480.0;
pub(crate) const HEIGHT: f64 = 258.0;
const RIGHT: f64 = 14.0;
pub(crate) const TOP: f64 = 12.0;
pub(crate) const BOTTOM: f64 = 48.0;

/// The width of a digit where text is largest, which is on narrow screens (`style.css`).
const DIGIT: f64 = 8.6;

/// One of the two axes.
pub(crate) struct Axis<'a> {
    /// The values at its ends.
    pub(crate) ends: (f64, f64),
    /// Places with a text.
    pub(crate) ticks: Vec<(f64, String)>,
    /// What goes along it; nothing where the title says so. Plain text.
    pub(crate) name: &'a str,
}

impl<'a> Axis<'a> {
    /// From a round number below `low` to one above `high`.
    pub(crate) fn around(low: f64, high: f64, scale: Scale, name: &'a str) -> Axis<'a> {
        let ticks = ticks(low, high, scale);
        let ends = (ticks[0], ticks[ticks.len() - 1]);
        let ticks = ticks.into_iter().map(|tick| (tick, label(tick, scale, true))).collect();
        Axis { ends, ticks, name }
    }
}

/// Where values are in a drawing.
pub(crate) struct Frame<'a> {
    across: Axis<'a>,
    up: Axis<'a>,
    left: f64,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(across: Axis<'a>, up: Axis<'a>) -> Frame<'a> {
        let longest = up.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        let name = if up.name.is_empty() { 0.0 } else { 20.0 };
        Frame { across, up, left: name + 12.0 + DIGIT * longest as f64 }
    }

    /// The place of a value across. One that is alone stands in the middle.
    pub(crate) fn x(&self, value: f64) -> f64 {
        let (from, to) = self.across.ends;
        match to > from {
            true => self.left + (value - from) / (to - from) * (WIDTH - self.left - RIGHT),
            false => (self.left + WIDTH - RIGHT) / 2.0,
        }
    }

    /// The place of a value up.
    pub(crate) fn y(&self, value: f64) -> f64 {
        let (from, to) = self.up.ends;
        let span = if to > from { to - from } else { 1.0 };
        HEIGHT - BOTTOM - (value - from) / span * (HEIGHT - TOP - BOTTOM)
    }

    /// Starts a figure: its title (plain text), its legend (HTML), the axes. [`end`] ends it.
    pub(crate) fn start(&self, page: &mut String, title: &str, legend: &str) {
        let title = escape(title);
        let (left, right) = (self.left, WIDTH - RIGHT);
        let _ = write!(
            page,
            "<figure><figcaption><b>{title}</b><span class=\"legend\">{legend}</span></figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title} by {}\">",
            escape(self.across.name)
        );
        for (tick, text) in &self.up.ticks {
            let y = self.y(*tick);
            let _ = write!(
                page,
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                left - 7.0,
                y + 4.0
            );
        }
        for (tick, text) in &self.across.ticks {
            let (x, half) = (self.x(*tick), DIGIT * text.chars().count() as f64 / 2.0);
            // No text may run out of the drawing.
            let (x, anchor) = match (x - half < 0.0, x + half > WIDTH) {
                (true, _) => (0.0, "start"),
                (_, true) => (WIDTH, "end"),
                _ => (x, "middle"),
            };
            let y = HEIGHT - BOTTOM + 18.0;
            let text = escape(text);
            let _ =
                write!(page, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
        }
        let (x, y) = ((left + right) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        let _ = write!(
            page,
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            escape(self.across.name)
        );
        if !self.up.name.is_empty() {
            let _ = write!(
                page,
                "<text class=\"axis\" transform=\"translate(13 {y:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                escape(self.up.name)
            );
        }
    }
}

/// Ends a figure.
pub(crate) fn end(page: &mut String) {
    page.push_str("</svg></figure>");
}

/// A value as an axis (`tick`) or a legend has it.
pub(crate) fn label(v: f64, scale: Scale, tick: bool) -> String {
    match (scale, tick) {
        (Scale::Percent, true) => {
            let text = format!("{:.2}", 100.0 * v);
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
        (Scale::Percent, false) => percent(v),
        (Scale::Plain, true) if v != 0.0 && (1e-3..1e5).contains(&v.abs()) => {
            let text = format!("{v:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
        // Short: what is wider than the margin would be cut.
        (Scale::Plain, true) if v != 0.0 => {
            let text = format!("{v:.2e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            let digits = match digits.contains('.') {
                true => digits.trim_end_matches('0').trim_end_matches('.'),
                false => digits,
            };
            format!("{digits}e{power}")
        }
        (Scale::Plain, _) => plain(v),
    }
}

/// Three to six round numbers around a range.
fn ticks(low: f64, high: f64, scale: Scale) -> Vec<f64> {
    let range = if high > low { high - low } else { high.abs().max(1e-3) * 0.1 };
    let rough = range / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|&s| s >= rough)
        .unwrap_or(power * 10.0);
    let mut first = (low / step).floor();
    let mut last = (high / step).ceil();
    if last <= first {
        last = first + 1.0;
    }
    // A loss or share has no room below 0, a share none above 1.
    if low >= 0.0 {
        first = first.max(0.0);
    }
    if scale == Scale::Percent && high <= 1.0 {
        last = last.min((1.0 / step).ceil());
    }
    (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_an_axis_are_round_and_short() {
        let texts = |low, high, scale| -> Vec<String> {
            Axis::around(low, high, scale, "").ticks.into_iter().map(|t| t.1).collect()
        };
        assert_eq!(texts(0.81, 0.97, Scale::Percent), ["80%", "85%", "90%", "95%", "100%"]);
        assert_eq!(texts(0.1, 2.9, Scale::Plain), ["0", "1", "2", "3"]);
        assert_eq!(texts(-3e5, 9e5, Scale::Plain), ["-5e5", "0", "5e5", "1e6"]);
        assert_eq!(texts(7.0, 7.0, Scale::Plain), ["7", "7.2"]);
    }

    #[test]
    fn texts_stay_inside() {
        let up = Axis::around(-1_234.5, 99_000.0, Scale::Plain, "errors");
        let across = Axis { ends: (0.0, 9.0), ticks: vec![(9.0, "x".repeat(30))], name: "n" };
        let frame = Frame::new(across, up);
        let mut page = String::new();
        frame.start(&mut page, "A <title>", "");
        end(&mut page);
        assert!(page.contains("A &lt;title&gt; by n") && page.contains(">errors</text>"));
        assert!(page.contains("x=\"480.0\" y=\"228\" text-anchor=\"end\""), "{page}");
        // The longest number of the axis has room left of it.
        assert!(frame.x(0.0) - 7.0 >= 20.0 + 6.0 * 8.0, "{}", frame.x(0.0));
        assert_eq!((frame.x(9.0), frame.y(-50_000.0) > frame.y(0.0)), (WIDTH - RIGHT, true));
    }
}
