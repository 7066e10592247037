//! Line charts as inline SVG.

use std::borrow::Cow;
use std::fmt::Write;

use crate::frame::{Axis, BOTTOM, Frame, HEIGHT, TOP, WIDTH, end, label};
use crate::html::escape;
use crate::number::Scale;

/// One chart of lines.
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
    /// Numbers.
    Numbers {
        /// What they are.
        what: &'static str,
        /// How they are written.
        scale: Scale,
        /// What goes up, where the title does not say it.
        up: &'static str,
    },
}

/// One line of a chart; points of (epoch, event or other number, value).
pub struct Line {
    /// Its class in the style sheet: `train`, `valid`, `other`, `dashed`, `dotted`, `run0` to `run7` for lines of
    /// one kind, `guide` for what lines are compared with, which has no figure and no dots, or `mark` for places whose
    /// values do not matter: each is a line from the bottom to the top.
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

    /// Whether it has no figure and no dots.
    fn is_guide(&self) -> bool {
        self.class == "guide" || self.is_mark()
    }

    fn is_mark(&self) -> bool {
        self.class == "mark"
    }
}

/// More points than this only make the page large: a pixel has several of them.
const MOST_POINTS: usize = 400;

/// More dots than this hide the line.
const MOST_DOTS: usize = 60;

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
        let all = || self.lines.iter().filter(|l| !l.is_mark()).flat_map(|l| l.points.iter());
        let Some(&(first, _)) = all().next() else { return };
        let fold = |f: fn(f64, f64) -> f64, pick: fn(&(f64, f64)) -> f64, start: f64| {
            all().map(pick).fold(start, f)
        };
        let (x0, x1) = (fold(f64::min, |p| p.0, first), fold(f64::max, |p| p.0, first));
        let (low, high) =
            (fold(f64::min, |p| p.1, f64::INFINITY), fold(f64::max, |p| p.1, f64::NEG_INFINITY));
        let up = Axis::around(low, high, self.scale, self.over.up());
        let frame = Frame::new(self.over.axis(x0, x1), up);
        let mut legend = String::new();
        for line in self.lines {
            if let Some(last) = line.figure() {
                let (class, name) = (line.class, escape(&line.name));
                let figure = match line.is_guide() {
                    true => String::new(),
                    false => format!(" <em>{}</em>", label(last, self.scale, false)),
                };
                let _ = write!(legend, "<span><i class=\"{class}\"></i>{name}{figure}</span>");
            }
        }
        frame.start(page, &self.title, &legend);
        self.lines.iter().for_each(|line| self.line(page, &frame, line));
        end(page);
    }

    fn line(&self, page: &mut String, frame: &Frame<'_>, line: &Line) {
        if line.is_mark() {
            let x = |place: &(f64, f64)| frame.x(place.0);
            for x in line.points.iter().map(x).filter(|x| x.is_finite()) {
                let _ =
                    write!(page, "<path class=\"mark\" d=\"M{x:.1} {TOP}V{}\"/>", HEIGHT - BOTTOM);
            }
            return;
        }
        let step = line.points.len().div_ceil(MOST_POINTS).max(1);
        let last = line.points.len().saturating_sub(1);
        let shown = |i: &usize| i.is_multiple_of(step) || *i == last;
        let points: Vec<(f64, f64)> =
            (0..line.points.len()).filter(shown).map(|i| line.points[i]).collect();
        let path: Vec<String> =
            points.iter().map(|&(e, v)| format!("{:.1} {:.1}", frame.x(e), frame.y(v))).collect();
        if points.len() > 1 {
            let _ = write!(page, "<path class=\"{}\" d=\"M{}\"/>", line.class, path.join("L"));
        }
        // Dots carry the exact numbers, as long as they do not hide the line.
        if points.len() > MOST_DOTS || line.is_guide() {
            return;
        }
        for &(e, v) in &points {
            let _ = write!(
                page,
                "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}, {} {}: \
                 {}</title></circle>",
                line.class,
                frame.x(e),
                frame.y(v),
                escape(&line.name),
                escape(self.over.one()),
                escape(&self.over.exactly(e)),
                label(v, self.scale, false)
            );
        }
    }
}

impl Over {
    fn one(&self) -> &'static str {
        match self {
            Over::Epochs => "epoch",
            Over::Events => "event",
            Over::Named { what, .. } | Over::Numbers { what, .. } => what,
        }
    }

    fn up(&self) -> &'static str {
        match self {
            Over::Numbers { up, .. } => up,
            _ => "",
        }
    }

    /// From `first` to `last`, with at most eight places that have a text.
    fn axis(&self, first: f64, last: f64) -> Axis<'static> {
        let most = match self {
            Over::Numbers { what, scale, .. } => return Axis::around(first, last, *scale, what),
            Over::Named { names, .. } => {
                let ticks = names.iter().enumerate().map(|(i, name)| (i as f64, name.clone()));
                return Axis { ends: (first, last), ticks: ticks.collect(), name: self.one() };
            }
            Over::Epochs => 8.0,
            // Their numbers are longer.
            Over::Events => 6.0,
        };
        let decades = (0..12).map(|n| 10f64.powi(n));
        let mut steps = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * d));
        let step = steps.find(|s| (last - first) / s <= most).unwrap_or(1e12);
        let start = (first / step).ceil() * step;
        let n = ((last - start) / step).floor().max(0.0) as usize;
        let places = (0..=n).map(|i| start + i as f64 * step).filter(|&v| v >= first);
        let ticks = places.map(|v| (v, self.number(v))).collect();
        Axis { ends: (first, last), ticks, name: self.one() }
    }

    fn exactly(&self, place: f64) -> String {
        match self {
            Over::Named { names, .. } => names.get(place as usize).cloned().unwrap_or_default(),
            Over::Numbers { scale, .. } => label(place, *scale, false),
            _ => place.to_string(),
        }
    }

    fn number(&self, tick: f64) -> String {
        match self {
            Over::Events if tick >= 1e9 => format!("{} G", tick / 1e9),
            Over::Events if tick >= 1e6 => format!("{} M", tick / 1e6),
            Over::Events if tick >= 1e4 => format!("{}k", tick / 1e3),
            _ => tick.to_string(),
        }
    }
}
