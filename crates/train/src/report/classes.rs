//! The confusion matrix and the table of classes.

use std::fmt::Write;

use tidemill_engine::evaluate::Evaluation;
use tidemill_engine::metrics::{ClassFigures, Confusion};
use tidemill_engine::page::html::escape;
use tidemill_engine::page::matrix::{MOST_CLASSES, Matrix};
use tidemill_engine::page::number::count;

/// Rows of the table; `tidemill eval` lists all.
const MOST_ROWS: usize = 60;

/// What is known of one class.
struct Row {
    class: usize,
    figures: ClassFigures,
    /// Whether there is a sample of it, or a prediction.
    seen: bool,
    average_precision: Option<f64>,
}

pub(super) fn write(page: &mut String, evaluation: &Evaluation, names: &[String]) {
    let name = |i: usize| names.get(i).map_or_else(|| i.to_string(), |s| escape(s));
    let row = |class: usize, figures: ClassFigures, predicted: bool| {
        let curve = evaluation.curves.iter().find(|curve| curve.class == class);
        let average_precision = curve.map(|curve| curve.average_precision);
        Row { class, figures, seen: predicted || figures.support > 0, average_precision }
    };
    match (&evaluation.sets, &evaluation.confusion) {
        (Some(sets), _) => {
            let classes = 0..sets.num_classes();
            let rows = classes.map(|class| row(class, sets.of_class(class), true)).collect();
            page.push_str("<section><h2>Classes</h2><div class=\"classes\">");
            table(page, rows, sets.macro_mean(), &name);
            page.push_str("</div></section>");
        }
        (None, Some(confusion)) if confusion.num_classes() >= 2 && confusion.total() > 0 => {
            let n = confusion.num_classes();
            page.push_str("<section><h2>Classes</h2><div class=\"classes\">");
            if n <= MOST_CLASSES {
                let plain = |i: usize| names.get(i).cloned().unwrap_or_else(|| i.to_string());
                let count = |truth, predicted| confusion.count(truth, predicted);
                Matrix { title: "Confusion", classes: n, count: &count, name: &plain }.write(page);
            }
            let row = |class| row(class, confusion.of_class(class), confusion.predicted(class) > 0);
            table(page, (0..n).map(row).collect(), confusion.macro_mean(), &name);
            page.push_str("</div>");
            pairs(page, confusion, &name);
            page.push_str("</section>");
        }
        _ => {}
    }
}

fn table(
    page: &mut String,
    mut rows: Vec<Row>,
    mean: ClassFigures,
    name: &dyn Fn(usize) -> String,
) {
    let precisions: Vec<f64> = rows.iter().filter_map(|row| row.average_precision).collect();
    let mut note = String::new();
    if rows.len() > MOST_CLASSES {
        // A class without a sample or a prediction has no F1, and is no mistake.
        rows.retain(|row| row.seen);
        rows.sort_by(|a, b| a.figures.f1.total_cmp(&b.figures.f1).then(a.class.cmp(&b.class)));
        note = "the lowest F1 first".into();
        let more = rows.len().saturating_sub(MOST_ROWS);
        if more > 0 {
            note = format!(
                "the {MOST_ROWS} lowest F1; tidemill eval lists {} more",
                count(more as u64)
            );
            rows.truncate(MOST_ROWS);
        }
    }
    let has_precisions = !precisions.is_empty();
    let last = if has_precisions { "<th>average precision</th>" } else { "" };
    let _ = write!(
        page,
        "<figure class=\"scroll\"><figcaption><b>By class</b><span class=\"legend\">{note}</span></figcaption>\
         <table class=\"bars\"><thead><tr><th>class</th><th>samples</th><th>precision</th><th>recall</th><th>F1</th>{last}</tr>\
         </thead><tbody>"
    );
    let row = |page: &mut String, label: &str, f: ClassFigures, precision: Option<f64>| {
        let cell = |v: f64| format!("<td style=\"--s:{v:.3}\"><span>{:.1}</span></td>", 100.0 * v);
        let last = match (has_precisions, precision) {
            (false, _) => String::new(),
            (true, Some(precision)) => cell(precision),
            // Without a sample of it, or of others.
            (true, None) => "<td class=\"n\"></td>".to_owned(),
        };
        let _ = write!(
            page,
            "<tr><th>{label}</th><td class=\"n\">{}</td>{}{}{}{last}</tr>",
            count(f.support),
            cell(f.precision),
            cell(f.recall),
            cell(f.f1)
        );
    };
    for of in rows {
        row(page, &name(of.class), of.figures, of.average_precision);
    }
    page.push_str("</tbody><tfoot>");
    let precision = precisions.iter().sum::<f64>() / precisions.len() as f64;
    row(page, "mean", mean, has_precisions.then_some(precision));
    page.push_str("</tfoot></table></figure>");
}

/// The most frequent mistakes.
fn pairs(page: &mut String, confusion: &Confusion, name: &dyn Fn(usize) -> String) {
    let n = confusion.num_classes();
    let mut pairs: Vec<(u64, usize, usize)> = (0..n)
        .flat_map(|t| (0..n).filter(move |&p| p != t).map(move |p| (t, p)))
        .map(|(t, p)| (confusion.count(t, p), t, p))
        .filter(|&(count, ..)| count > 0)
        .collect();
    pairs.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    if pairs.is_empty() {
        page.push_str("<p class=\"chips\">No mistake at all.</p>");
        return;
    }
    page.push_str("<p class=\"chips\"><span>Most confused</span>");
    for (count, truth, predicted) in pairs.iter().take(6) {
        let _ = write!(
            page,
            "<span class=\"chip\">{} taken for {} <em>{count}</em></span>",
            name(*truth),
            name(*predicted)
        );
    }
    page.push_str("</p>");
}
