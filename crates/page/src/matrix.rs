//! A matrix of counts: how often each class was taken for each.

use std::fmt::Write;

use crate::html::escape;

/// Above this a matrix is no longer readable.
pub const MOST_CLASSES: usize = 24;

/// How often samples of each class (a row) were predicted as each class (a column).
pub struct Matrix<'a> {
    /// Its title; plain text.
    pub title: &'a str,
    /// The number of classes.
    pub classes: usize,
    /// The count of a true class and a predicted one.
    pub count: &'a dyn Fn(usize, usize) -> u64,
    /// The name of a class; plain text.
    pub name: &'a dyn Fn(usize) -> String,
}

impl Matrix<'_> {
    /// Appends the matrix to a page.
    pub fn write(&self, page: &mut String) {
        let (n, count) = (self.classes, self.count);
        let name = |class: usize| escape(&(self.name)(class));
        let longest = (0..n).map(|i| (self.name)(i).chars().count()).max().unwrap_or(0);
        let upright = if longest > 3 { " class=\"tall\"" } else { "" };
        let _ = write!(
            page,
            "<figure class=\"scroll\"><figcaption><b>{}</b>\
             <span class=\"legend\">rows: true class, columns: predicted</span></figcaption>\
             <table class=\"matrix\"><thead><tr><th></th>",
            escape(self.title)
        );
        for class in 0..n {
            let _ = write!(page, "<th{upright}><span>{}</span></th>", name(class));
        }
        page.push_str("</tr></thead><tbody>");
        let wrong = (0..n).flat_map(|t| (0..n).filter(move |&p| p != t).map(move |p| (t, p)));
        let worst = wrong.map(|(t, p)| count(t, p)).max().unwrap_or(0).max(1);
        for truth in 0..n {
            let _ = write!(page, "<tr><th>{}</th>", name(truth));
            let support = (0..n).map(|p| count(truth, p)).sum::<u64>().max(1);
            for predicted in 0..n {
                let cell = count(truth, predicted);
                if cell == 0 {
                    page.push_str("<td></td>");
                    continue;
                }
                // Right answers by their share of the class, mistakes by the worst one: a few
                // mistakes would not show on one common scale.
                let (class, share) = match truth == predicted {
                    true => ("hit", cell as f64 / support as f64),
                    false => ("miss", (cell as f64 / worst as f64).sqrt()),
                };
                let _ = write!(
                    page,
                    "<td class=\"{class}\" style=\"--s:{share:.2}\" title=\"{} as {}: {cell}\">{cell}</td>",
                    name(truth),
                    name(predicted)
                );
            }
            page.push_str("</tr>");
        }
        page.push_str("</tbody></table></figure>");
    }
}
