//! Drawings of many samples: how many there are of each size, and two values of some of them.

use std::fmt::Write;

use crate::frame::{Axis, Frame, end};
use crate::html::escape;
use crate::number::{Scale, count, plain};

/// How many samples there are between some values.
pub struct Histogram<'a> {
    /// Its title; plain text.
    pub title: &'a str,
    /// What is said beside the title; plain text.
    pub note: &'a str,
    /// What the values are.
    pub what: &'a str,
    /// How they are written.
    pub scale: Scale,
    /// The ends of the lowest bar and of the highest one.
    pub ends: (f64, f64),
    /// Samples of each bar; all are of the same width.
    pub bars: &'a [u64],
}

impl Histogram<'_> {
    /// Appends the drawing to a page; nothing where no bar has a sample.
    pub fn write(&self, page: &mut String) {
        let most = self.bars.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return;
        }
        let (low, high) = self.ends;
        let mut across = Axis { ends: self.ends, ..Axis::around(low, high, self.scale, self.what) };
        across.ticks.retain(|(v, _)| (low..=high).contains(v));
        let frame = Frame::new(across, Axis::around(0.0, most as f64, Scale::Plain, "samples"));
        frame.start(page, self.title, &escape(self.note));
        let width = (high - low) / self.bars.len() as f64;
        for (i, &bar) in self.bars.iter().enumerate().filter(|(_, bar)| **bar > 0) {
            let (from, to) = (low + i as f64 * width, low + (i + 1) as f64 * width);
            let (x, y) = (frame.x(from), frame.y(bar as f64));
            let _ = write!(
                page,
                "<rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
                 <title>{} to {}: {}</title></rect>",
                x + 0.5,
                (frame.x(to) - x - 1.0).max(0.5),
                // One sample of many is seen too.
                (frame.y(0.0) - y).max(0.7),
                plain(from),
                plain(to),
                count(bar)
            );
        }
        end(page);
    }
}

/// Predicted values by true ones.
pub struct Points<'a> {
    /// Its title; plain text.
    pub title: &'a str,
    /// What is said beside the title; plain text.
    pub note: &'a str,
    /// What goes across and what goes up.
    pub what: [&'a str; 2],
    /// The values of each point.
    pub points: &'a [(f64, f64)],
}

impl Points<'_> {
    /// Appends the drawing to a page, with a line where both values are equal; nothing where there is no point.
    pub fn write(&self, page: &mut String) {
        if self.points.is_empty() {
            return;
        }
        let axis = |of: fn(&(f64, f64)) -> f64, name| {
            let start = (f64::INFINITY, f64::NEG_INFINITY);
            let values = self.points.iter().map(of);
            let (low, high) = values.fold(start, |(l, h), v| (l.min(v), h.max(v)));
            Axis::around(low, high, Scale::Plain, name)
        };
        let [across, up] = self.what;
        let (across, up) = (axis(|p| p.0, across), axis(|p| p.1, up));
        // The part of the line of equal values that is inside.
        let (from, to) = (across.ends.0.max(up.ends.0), across.ends.1.min(up.ends.1));
        let frame = Frame::new(across, up);
        frame.start(page, self.title, &escape(self.note));
        // Lines of no length with round ends: a third of the text that circles take.
        let mut path = String::new();
        for &(x, y) in self.points {
            let _ = write!(path, "M{:.1} {:.1}h0", frame.x(x), frame.y(y));
        }
        let _ = write!(page, "<path class=\"points\" d=\"{path}\"/>");
        if to > from {
            let _ = write!(
                page,
                "<path class=\"guide\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
                frame.x(from),
                frame.y(from),
                frame.x(to),
                frame.y(to)
            );
        }
        end(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_points_are_where_they_should_be() {
        let mut page = String::new();
        let histogram = Histogram {
            title: "Errors",
            note: "2 <outside>",
            what: "error",
            scale: Scale::Plain,
            ends: (-1.0, 1.0),
            bars: &[1, 0, 1000, 3],
        };
        histogram.write(&mut page);
        assert_eq!(page.matches("<rect").count(), 3);
        assert!(
            page.contains("2 &lt;outside&gt;") && page.contains("0 to 0.5000: 1,000"),
            "{page}"
        );
        Histogram { bars: &[0, 0], ..histogram }.write(&mut page);
        assert_eq!(page.matches("<svg").count(), 1);

        page.clear();
        let points = [(1.0, 2.0), (3.0, 3.5), (2.0, 2.0)];
        let drawn = Points { title: "p", note: "", what: ["true", "predicted"], points: &points };
        drawn.write(&mut page);
        assert_eq!((page.matches("h0").count(), page.matches("guide").count()), (3, 1));
        // Alone, and far from the line.
        let drawn = Points { points: &[(5.0, 9.0)], ..drawn };
        page.clear();
        drawn.write(&mut page);
        assert!(!page.contains("NaN") && !page.contains("guide"), "{page}");
    }
}
