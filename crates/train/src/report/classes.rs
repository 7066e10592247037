//! The confusion matrix and the table of classes.

use std::fmt::Write;

use tidemill_engine::metrics::Confusion;
use tidemill_engine::page::html::escape;
use tidemill_engine::page::matrix::{MOST_CLASSES, Matrix};
use tidemill_engine::page::number::count;

/// Rows of the table; `tidemill eval` lists all.
const MOST_ROWS: usize = 60;

pub(super) fn write(page: &mut String, confusion: &Confusion, names: &[String]) {
    let n = confusion.num_classes();
    if n < 2 || confusion.total() == 0 {
        return;
    }
    let name = |i: usize| names.get(i).map_or_else(|| i.to_string(), |s| escape(s));
    page.push_str("<section><h2>Classes</h2><div class=\"classes\">");
    if n <= MOST_CLASSES {
        let plain = |i: usize| names.get(i).cloned().unwrap_or_else(|| i.to_string());
        let count = |truth, predicted| confusion.count(truth, predicted);
        Matrix { title: "Confusion", classes: n, count: &count, name: &plain }.write(page);
    }
    table(page, confusion, &name);
    page.push_str("</div>");
    pairs(page, confusion, &name);
    page.push_str("</section>");
}

fn table(page: &mut String, confusion: &Confusion, name: &dyn Fn(usize) -> String) {
    let mut shown: Vec<usize> = (0..confusion.num_classes()).collect();
    let mut note = String::new();
    if shown.len() > MOST_CLASSES {
        let f1 = |class: usize| confusion.of_class(class).f1;
        // A class without a sample or a prediction has no F1, and is no mistake.
        shown.retain(|&class| confusion.support(class) + confusion.predicted(class) > 0);
        shown.sort_by(|&a, &b| f1(a).total_cmp(&f1(b)).then(a.cmp(&b)));
        note = "the lowest F1 first".into();
        let more = shown.len().saturating_sub(MOST_ROWS);
        if more > 0 {
            note = format!(
                "the {MOST_ROWS} lowest F1; tidemill eval lists {} more",
                count(more as u64)
            );
            shown.truncate(MOST_ROWS);
        }
    }
    let _ = write!(
        page,
        "<figure class=\"scroll\"><figcaption><b>By class</b><span class=\"legend\">{note}</span></figcaption>\
         <table class=\"bars\"><thead><tr><th>class</th><th>samples</th><th>precision</th><th>recall</th><th>F1</th></tr>\
         </thead><tbody>"
    );
    let row = |page: &mut String, label: &str, f: tidemill_engine::metrics::ClassFigures| {
        let cell = |v: f64| format!("<td style=\"--s:{v:.3}\"><span>{:.1}</span></td>", 100.0 * v);
        let _ = write!(
            page,
            "<tr><th>{label}</th><td class=\"n\">{}</td>{}{}{}</tr>",
            count(f.support),
            cell(f.precision),
            cell(f.recall),
            cell(f.f1)
        );
    };
    for class in shown {
        row(page, &name(class), confusion.of_class(class));
    }
    page.push_str("</tbody><tfoot>");
    row(page, "mean", confusion.macro_mean());
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
