//! A picture of named values: a bar each, with how far it was from being exact.

use std::fmt::Write;

use crate::frame::label;
use crate::html::escape;
use crate::number::Scale;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What it is of; plain text.
    pub name: String,
    /// Its length; below 0 to the left.
    pub value: f64,
    /// How far to both sides of the end a thin line goes.
    pub spread: f64,
}

/// Bars below each other, as a picture that stands alone.
pub struct Bars<'a> {
    /// The title; plain text.
    pub title: &'a str,
    /// How values are written.
    pub scale: Scale,
    /// From above.
    pub bars: &'a [Bar],
}

const ROW: usize = 24;
const WIDTH: f64 = 640.0;
const ABOVE: usize = 38;

/// Room for the number beside a bar.
const FIGURE: f64 = 76.0;

impl Bars<'_> {
    /// The picture, an SVG file.
    pub fn picture(&self) -> String {
        let longest = self.bars.iter().map(|bar| bar.name.chars().count()).max().unwrap_or(0);
        // A name that is long takes the room of its bar, not that of the picture.
        let left = (14.0 + 7.4 * longest as f64).min(WIDTH / 2.0);
        let fold = |f: fn(f64, f64) -> f64, sign: f64| {
            self.bars.iter().map(|bar| bar.value + sign * bar.spread).fold(0.0, f)
        };
        let (low, high) = (fold(f64::min, -1.0), fold(f64::max, 1.0));
        let span = if high > low { high - low } else { 1.0 };
        let x = |value: f64| left + (value - low) / span * (WIDTH - left - FIGURE);
        let height = ABOVE + ROW * self.bars.len() + 10;
        let mut picture = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\">\
             <style>svg{{background:#fff;font:13px system-ui,sans-serif}}text{{fill:#4a5754}}\
             .title{{fill:#16211f;font-weight:600}}rect{{fill:#0b7a75}}rect.below{{fill:#c24a2c}}\
             path{{stroke:#16211f;stroke-width:1.2;fill:none}}</style>\
             <text class=\"title\" x=\"8\" y=\"22\">{}</text>",
            escape(self.title)
        );
        for (i, bar) in self.bars.iter().enumerate() {
            let top = (ABOVE + ROW * i) as f64;
            let (from, to) = (x(bar.value.min(0.0)), x(bar.value.max(0.0)));
            let middle = top + 9.0;
            let [least, most] = [-1.0, 1.0].map(|sign| x(bar.value + sign * bar.spread));
            let _ = write!(
                picture,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <rect{} x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"18\"/>\
                 <path d=\"M{least:.1} {middle}H{most:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                left - 8.0,
                middle + 5.0,
                escape(&bar.name),
                if bar.value < 0.0 { " class=\"below\"" } else { "" },
                to - from,
                most.max(to) + 6.0,
                middle + 5.0,
                label(bar.value, self.scale, false)
            );
        }
        picture.push_str("</svg>\n");
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_go_to_both_sides_of_zero() {
        let bar = |name: &str, value: f64, spread: f64| Bar { name: name.into(), value, spread };
        let bars = [bar("age & sex", 0.1, 0.01), bar("none", 0.0, 0.0), bar("worse", -0.02, 0.0)];
        let picture = Bars { title: "<t>", scale: Scale::Percent, bars: &bars }.picture();
        assert!(picture.contains("age &amp; sex") && picture.contains("&lt;t&gt;"), "{picture}");
        assert!(picture.contains("10.00 %") && picture.contains("class=\"below\""), "{picture}");
        assert_eq!(picture.matches("<rect ").count(), 3);
        assert!(
            !Bars { title: "", scale: Scale::Plain, bars: &[bars[1].clone()] }
                .picture()
                .contains("NaN")
        );
    }
}
