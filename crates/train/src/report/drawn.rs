//! Diagrams of the validation data: calibration, ROC curves, residuals.

use std::fmt::Write;

use tidemill_engine::evaluate::Evaluation;
use tidemill_engine::metrics::{Calibration, Residuals, RocCurve};
use tidemill_engine::page::chart::{Chart, Line, Over};
use tidemill_engine::page::counts::{Histogram, Points};
use tidemill_engine::page::number::{Scale, count, plain};

/// The classes of the lines' colours.
const COLOURS: [&str; 8] = ["run0", "run1", "run2", "run3", "run4", "run5", "run6", "run7"];

pub(super) fn write(page: &mut String, evaluation: &Evaluation, names: &[String]) {
    if let Some(calibration) = &evaluation.calibration {
        page.push_str("<section><h2>Probabilities, on validation data</h2><div class=\"charts\">");
        reliability(page, calibration);
        roc(page, &evaluation.curves, names);
        page.push_str("</div></section>");
    } else if !evaluation.curves.is_empty() {
        page.push_str("<section><h2>Scores, on validation data</h2><div class=\"charts\">");
        roc(page, &evaluation.curves, names);
        page.push_str("</div></section>");
    }
    if !evaluation.residuals.is_empty() {
        page.push_str("<section><h2>Errors, on validation data</h2><div class=\"charts\">");
        for (i, residuals) in evaluation.residuals.iter().enumerate() {
            let of = match evaluation.residuals.len() {
                1 => String::new(),
                _ => format!(" of output {i}"),
            };
            errors(page, residuals, &of);
        }
        page.push_str("</div></section>");
    }
}

/// A straight line to compare with.
fn guide(name: &'static str) -> Line {
    Line::new("guide", name, vec![(0.0, 0.0), (1.0, 1.0)])
}

fn reliability(page: &mut String, calibration: &Calibration) {
    let filled = calibration.bins.iter().filter(|bin| bin.count > 0);
    let points = filled.map(|bin| (bin.probability, bin.right)).collect();
    let name = "expected calibration error";
    let own = Line { figure: Some(calibration.error), ..Line::new("valid", name, points) };
    let over = Over::Numbers {
        what: "probability of the predicted class",
        scale: Scale::Percent,
        up: "share that is right",
    };
    let lines = [guide("as sure as right"), own];
    Chart { title: "Calibration".into(), scale: Scale::Percent, over, lines: &lines }.write(page);
    let bars: Vec<u64> = calibration.bins.iter().map(|bin| bin.count).collect();
    Histogram {
        title: "How sure predictions are",
        note: "",
        what: "probability of the predicted class",
        scale: Scale::Percent,
        ends: (0.0, 1.0),
        bars: &bars,
    }
    .write(page);
}

/// The curves of the classes, where they are many those with the least area.
fn roc(page: &mut String, curves: &[RocCurve], names: &[String]) {
    if curves.is_empty() {
        return;
    }
    let mut worst: Vec<&RocCurve> = curves.iter().collect();
    let mut title = "ROC, with the area under the curve".to_owned();
    if curves.len() > COLOURS.len() {
        worst.sort_by(|a, b| a.area.total_cmp(&b.area));
        worst.truncate(COLOURS.len());
        let mean = curves.iter().map(|curve| curve.area).sum::<f64>() / curves.len() as f64;
        let (n, mean) = (curves.len(), plain(mean));
        title =
            format!("ROC of the {} of {n} classes with the least area; mean {mean}", worst.len());
    }
    let mut lines = vec![guide("chance")];
    for (curve, colour) in worst.iter().zip(COLOURS) {
        let name = names.get(curve.class).cloned().unwrap_or_else(|| curve.class.to_string());
        let line = Line::new(colour, name, curve.points.clone());
        lines.push(Line { figure: Some(curve.area), ..line });
    }
    let over = Over::Numbers {
        what: "share of other classes above the threshold",
        scale: Scale::Plain,
        up: "share of the class above it",
    };
    Chart { title, scale: Scale::Plain, over, lines: &lines }.write(page);
}

fn errors(page: &mut String, residuals: &Residuals, of: &str) {
    let (ends, bars, outside) = residuals.histogram();
    let mut note = format!("median {}", plain(residuals.error_at(0.5)));
    if outside > 0 {
        let _ = write!(note, ", {} outside", count(outside));
    }
    if residuals.lost() > 0 {
        let _ = write!(note, ", {} not finite", count(residuals.lost()));
    }
    let title = format!("Errors{of}");
    let (title, what, scale) = (&title, "predicted less true value", Scale::Plain);
    Histogram { title, note: &note, what, scale, ends, bars: &bars }.write(page);
    let points = residuals.points();
    let note = match points.len() as u64 {
        shown if shown < residuals.samples() => {
            format!("{} of {} samples", count(shown), count(residuals.samples()))
        }
        _ => String::new(),
    };
    let title = format!("Predicted by true value{of}");
    Points { title: &title, note: &note, what: ["true value", "predicted value"], points: &points }
        .write(page);
}
