//! Line charts as inline SVG.

use std::borrow::Cow;
use std::fmt::Write;

use crate::html::escape;
use crate::number::{Scale, percent, plain};

/// One chart over epochs or events.
pub struct Chart<'a> {
    /// Its title; plain text.
    pub title: String,
    /// How its values are written.
    pub scale: Scale,
    /// What it goes along.
    pub over: Over,
    /// Its lines; nothing is drawn where no line has a point.
    pub lines: &'a [Line],
}

/// What a chart goes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// Epochs.
    Epochs,
    /// Events of a stream.
    Events,
    /// Places 0, 1, 2, ... of these names.
    Named {
        /// What the names are of, such as `events`.
        what: &'static str,
        /// The names.
        names: Vec<String>,
    },
}

/// One line of a chart; points of (epoch or event, value).
pub struct Line {
    /// Its class in the style sheet: `train`, `valid`, `other`, `dashed` or `dotted`.
    pub class: &'static str,
    /// Its name in the legend; plain text.
    pub name: Cow<'static, str>,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// What stands beside its name; the last value if none.
    pub figure: Option<f64>,
}

impl Line {
    /// A line with its last value beside its name.
    pub fn new(
        class: &'static str,
        name: impl Into<Cow<'static, str>>,
        points: Vec<(f64, f64)>,
    ) -> Line {
        Line { class, name: name.into(), points, figure: None }
    }

    fn figure(&self) -> Option<f64> {
        self.figure.or(self.points.last().map(|p| p.1))
    }
}

// The drawing's own units; the page scales it to its column. Small, so that text stays readable
// on a narrow screen.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// More points than this only make the page large: a pixel has several of them.
const MOST_POINTS: usize = 400;

/// Colours of a picture that stands alone.
const ALONE: &str = "svg{background:#fff;font:11.5px system-ui,sans-serif}text{fill:#5b6865}\
    .title{fill:#16211f;font-weight:600;font-size:13px}path{fill:none;stroke-width:2;\
    stroke-linejoin:round;stroke-linecap:round}.grid{stroke:#e9edeb;stroke-width:1}\
    path.train{stroke:#8aa4ad}path.valid{stroke:#0b7a75;stroke-width:2.5}\
    path.other{stroke:#c95234}path.dashed{stroke:#c95234;stroke-width:1.5;stroke-dasharray:5 4}\
    path.dotted{stroke:#5b6865;stroke-width:1.5;stroke-dasharray:1.5 4}circle{stroke:#fff}\
    circle.train{fill:#8aa4ad}circle.valid{fill:#0b7a75}circle.other,circle.dashed{fill:#c95234}\
    circle.dotted{fill:#5b6865}";

impl Chart<'_> {
    /// As a picture for other pages: with its title and the names of its lines.
    pub fn picture(&self) -> String {
        let mut page = String::new();
        self.write(&mut page);
        let inner = page.split_once("<svg").and_then(|(_, rest)| rest.split_once('>'));
        let inner = inner.and_then(|(_, rest)| rest.split_once("</svg>")).map_or("", |(i, _)| i);
        // Long names take a row each.
        let columns = if self.lines.iter().any(|l| l.name.len() > 24) { 1 } else { 2 };
        let rows = self.lines.len().div_ceil(columns);
        let above = 26 + 17 * rows;
        let mut picture = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 -{above} {WIDTH} {}\" width=\"640\">\
             <style>{ALONE}</style><text class=\"title\" x=\"8\" y=\"{}\">{}</text>",
            HEIGHT + above as f64,
            18.0 - above as f64,
            escape(&self.title)
        );
        for (i, line) in self.lines.iter().enumerate() {
            let Some(last) = line.figure() else { continue };
            let (x, y) = (8 + 236 * (i % columns), 38 + 17 * (i / columns));
            let y = y as f64 - above as f64;
            let _ = write!(
                picture,
                "<path class=\"{}\" d=\"M{x} {:.0}H{}\"/><text x=\"{}\" y=\"{y:.0}\">{} {}</text>",
                line.class,
                y - 4.0,
                x + 18,
                x + 24,
                escape(&line.name),
                label(last, self.scale, false)
            );
        }
        picture.push_str(inner);
        picture.push_str("</svg>\n");
        picture
    }

    /// Appends the chart to a page.
    pub fn write(&self, page: &mut String) {
        let all = || self.lines.iter().flat_map(|l| l.points.iter());
        let Some(&(first, _)) = all().next() else { return };
        let fold = |f: fn(f64, f64) -> f64, pick: fn(&(f64, f64)) -> f64, start: f64| {
            all().map(pick).fold(start, f)
        };
        let (x0, x1) = (fold(f64::min, |p| p.0, first), fold(f64::max, |p| p.0, first));
        let (low, high) =
            (fold(f64::min, |p| p.1, f64::INFINITY), fold(f64::max, |p| p.1, f64::NEG_INFINITY));
        let ticks = ticks(low, high, self.scale);
        let (y0, y1) = (ticks[0], ticks[ticks.len() - 1]);
        let span = |a: f64, b: f64| if b > a { b - a } else { 1.0 };
        // A single epoch stands in the middle.
        let x = |v: f64| match x1 > x0 {
            true => LEFT + (v - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
            false => (LEFT + WIDTH - RIGHT) / 2.0,
        };
        let y = |v: f64| HEIGHT - BOTTOM - (v - y0) / span(y0, y1) * (HEIGHT - TOP - BOTTOM);

        let title = escape(&self.title);
        let _ = write!(page, "<figure><figcaption><b>{title}</b><span class=\"legend\">");
        for line in self.lines {
            if let Some(last) = line.figure() {
                let (class, name) = (line.class, escape(&line.name));
                let last = label(last, self.scale, false);
                let _ =
                    write!(page, "<span><i class=\"{class}\"></i>{name} <em>{last}</em></span>");
            }
        }
        let _ = write!(
            page,
            "</span></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title} by {}\">",
            self.over.one()
        );
        for &tick in &ticks {
            let (at, text) = (y(tick), label(tick, self.scale, true));
            let _ = write!(
                page,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 7.0,
                at + 4.0
            );
        }
        let (named, ticks) = (matches!(self.over, Over::Named { .. }), self.over.ticks(x0, x1));
        for (i, &tick) in ticks.iter().enumerate() {
            // The last name must not run out of the drawing.
            let anchor = if named && i > 0 && i + 1 == ticks.len() { "end" } else { "middle" };
            let _ = write!(
                page,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                x(tick) + if anchor == "end" { RIGHT } else { 0.0 },
                HEIGHT - BOTTOM + 19.0,
                self.over.label(tick)
            );
        }
        for line in self.lines {
            let step = line.points.len().div_ceil(MOST_POINTS).max(1);
            let last = line.points.len().saturating_sub(1);
            let shown = |i: &usize| i.is_multiple_of(step) || *i == last;
            let points: Vec<(f64, f64)> =
                (0..line.points.len()).filter(shown).map(|i| line.points[i]).collect();
            let path: Vec<String> =
                points.iter().map(|&(e, v)| format!("{:.1} {:.1}", x(e), y(v))).collect();
            if points.len() > 1 {
                let _ = write!(page, "<path class=\"{}\" d=\"M{}\"/>", line.class, path.join("L"));
            }
            // Dots carry the exact numbers, as long as they do not hide the line.
            if points.len() <= 60 {
                for &(e, v) in &points {
                    let _ = write!(
                        page,
                        "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}, {} {}: \
                         {}</title></circle>",
                        line.class,
                        x(e),
                        y(v),
                        escape(&line.name),
                        self.over.one(),
                        self.over.exactly(e),
                        label(v, self.scale, false)
                    );
                }
            }
        }
        page.push_str("</svg></figure>");
    }
}

fn label(v: f64, scale: Scale, tick: bool) -> String {
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
        (Scale::Plain, true) if v != 0.0 && v.abs() < 1e-3 => {
            let text = format!("{v:.2e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
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

impl Over {
    fn one(&self) -> &'static str {
        match self {
            Over::Epochs => "epoch",
            Over::Events => "event",
            Over::Named { what, .. } => what,
        }
    }

    /// At most eight to name.
    fn ticks(&self, first: f64, last: f64) -> Vec<f64> {
        let most = match self {
            Over::Named { names, .. } => return (0..names.len()).map(|i| i as f64).collect(),
            Over::Epochs => 8.0,
            // Their names are longer.
            Over::Events => 6.0,
        };
        let decades = (0..12).map(|n| 10f64.powi(n));
        let mut steps = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * d));
        let step = steps.find(|s| (last - first) / s <= most).unwrap_or(1e12);
        let start = (first / step).ceil() * step;
        let n = ((last - start) / step).floor().max(0.0) as usize;
        (0..=n).map(|i| start + i as f64 * step).filter(|&v| v >= first).collect()
    }

    fn exactly(&self, place: f64) -> String {
        match self {
            Over::Named { .. } => self.label(place),
            _ => place.to_string(),
        }
    }

    fn label(&self, tick: f64) -> String {
        match self {
            Over::Named { names, .. } => names.get(tick as usize).cloned().unwrap_or_default(),
            Over::Events if tick >= 1e9 => format!("{} G", tick / 1e9),
            Over::Events if tick >= 1e6 => format!("{} M", tick / 1e6),
            Over::Events if tick >= 1e4 => format!("{}k", tick / 1e3),
            _ => tick.to_string(),
        }
    }
}
