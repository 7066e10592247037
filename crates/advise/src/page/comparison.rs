//! `compare.html`: batch and online learning side by side.

use std::fmt::Write;
use std::path::Path;

use crate::compare::{Comparison, Measured, Mode, Row};
use tidemill_engine::checkpoint::files::write_synced;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::page::chart::{Chart, Line, Over};
use tidemill_engine::page::html::{cards, escape, machine, start};
use tidemill_engine::page::number::{Scale, bytes, count, plain, seconds};

/// Writes the page, its pictures, and the figures as JSON into a folder.
pub(crate) fn write_comparison(folder: &Path, c: &Comparison) -> Result<()> {
    write_synced(&folder.join("compare.html"), page(c).as_bytes())?;
    for (name, shuffled) in [("in-order.svg", false), ("shuffled.svg", true)] {
        let lines = lines(c, shuffled);
        write_synced(&folder.join(name), chart(c, shuffled, &lines).picture().as_bytes())?;
    }
    write_json(&folder.join("compare.json"), c)
}

/// Figures for programs.
pub(super) fn write_json(path: &Path, figures: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)
        .map_err(|e| Error::Run(format!("{}: cannot be written: {e}", path.display())))?;
    write_synced(path, text.as_bytes())
}

pub(super) fn scale(more_is_better: bool) -> Scale {
    if more_is_better { Scale::Percent } else { Scale::Plain }
}

/// `90.80 %`, or an error.
pub(super) fn quality(more_is_better: bool, value: f64) -> String {
    match more_is_better {
        true => format!("{:.2}&thinsp;%", 100.0 * value),
        false => plain(value),
    }
}

fn page(c: &Comparison) -> String {
    let stem = Path::new(&c.recipe).file_stem().map(|s| s.to_string_lossy().into_owned());
    let title = escape(&stem.unwrap_or_default());
    let mut page = String::with_capacity(64 * 1024);
    start(&mut page, &title);
    let cut = if c.cut { ", which has more" } else { "" };
    let late = match c.label_delay {
        0 => String::new(),
        n => format!(" &middot; labels come {} events late", count(n as u64)),
    };
    let _ = write!(
        page,
        "<header><p class=\"eyebrow\">tidemill compare</p><h1>{title}</h1><p class=\"sub\">{} events of \
         {}{cut} &middot; the first {} train all modes, {} are predicted, scored, then learned from{late}\
         </p></header>",
        count(c.events as u64),
        escape(&c.source),
        count(c.first as u64),
        count(c.scored as u64)
    );
    let figure = |row: &Row| quality(c.more_is_better, row.ordered.quality);
    let mut shown: Vec<(String, String, String)> = Vec::new();
    for row in &c.rows {
        if matches!(row.mode, Mode::Frozen | Mode::Online { step: 1, .. }) {
            shown.push((escape(&row.name), figure(row), c.quality.to_string()));
        }
    }
    let index = format!("&plusmn; {:.2}; 0: order does not matter", c.drift.within);
    shown.push(("Drift index".into(), format!("{:.2}", c.drift.mean), index));
    let no_change = quality(c.more_is_better, c.baselines.no_change);
    shown.push(("The last label again".into(), no_change, "a guess without a model".into()));
    cards(&mut page, &shown);
    page.push_str("<section><h2>Over the events</h2><div class=\"charts\">");
    for shuffled in [false, true] {
        chart(c, shuffled, &lines(c, shuffled)).write(&mut page);
    }
    page.push_str("</div></section><section><h2>Figures</h2><div class=\"classes wide\">");
    table(&mut page, c, "In the order of time", |row| &row.ordered);
    table(&mut page, c, "Shuffled", |row| &row.shuffled);
    page.push_str("</div></section>");
    details(&mut page, c);
    page.push_str("</main></body></html>\n");
    page
}

fn class(mode: Mode) -> &'static str {
    match mode {
        Mode::Frozen => "train",
        Mode::Retrained { window: None, .. } => "dotted",
        Mode::Retrained { .. } => "dashed",
        Mode::Online { step: 1, .. } => "valid",
        Mode::Online { .. } => "other",
    }
}

fn lines(c: &Comparison, shuffled: bool) -> Vec<Line> {
    let line = |row: &Row| {
        let measured = if shuffled { &row.shuffled } else { &row.ordered };
        let block = c.scored as f64 / measured.course.len().max(1) as f64;
        let middle = |i: usize| (c.first as f64 + (i as f64 + 0.5) * block).round();
        let points = measured.course.iter().enumerate().map(|(i, &v)| (middle(i), v)).collect();
        let figure = Some(measured.quality);
        Line { figure, ..Line::new(class(row.mode), row.name.clone(), points) }
    };
    c.rows.iter().map(line).collect()
}

fn chart<'a>(c: &Comparison, shuffled: bool, lines: &'a [Line]) -> Chart<'a> {
    let order = if shuffled { "shuffled" } else { "in order" };
    let mut name = c.quality.to_owned();
    name[..1].make_ascii_uppercase();
    let title = format!("{name} of each twentieth, {order}");
    Chart { title, scale: scale(c.more_is_better), over: Over::Events, lines }
}

fn table(page: &mut String, c: &Comparison, title: &str, of: impl Fn(&Row) -> &Measured) {
    let kappas = c.more_is_better;
    let _ = write!(
        page,
        "<figure class=\"scroll\"><figcaption><b>{title}</b></figcaption><table class=\"figures\"><thead>\
         <tr><th></th><th>{}</th><th>gain</th>{}<th>time</th><th>CPU</th><th>memory</th><th>age</th></tr>\
         </thead><tbody>",
        c.quality,
        if kappas { "<th>Kappa</th><th>Kappa-T</th>" } else { "" }
    );
    for row in &c.rows {
        let m = of(row);
        let (factor, digits) = if c.more_is_better { (100.0, 1) } else { (1.0, 4) };
        let gain = match row.mode {
            Mode::Frozen => String::new(),
            _ => format!(
                "{:+.digits$} &plusmn; {:.digits$}",
                factor * m.gain.mean,
                factor * m.gain.within
            ),
        };
        let mut cells = vec![quality(c.more_is_better, m.quality), gain];
        if kappas {
            let show = |k: Option<f64>| k.map_or_else(String::new, |k| format!("{k:.3}"));
            cells.extend([show(m.kappa), show(m.kappa_t)]);
        }
        cells.extend([
            seconds(m.cost.wall_seconds),
            seconds(m.cost.cpu_seconds),
            bytes(m.memory_bytes),
            count(m.mean_age.round() as u64),
        ]);
        let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
        let _ = write!(page, "<tr><th>{}</th>{cells}</tr>", escape(&row.name));
    }
    page.push_str("</tbody></table></figure>");
}

fn details(page: &mut String, c: &Comparison) {
    let (processor, cores) = machine();
    let t = &c.tuned;
    let rows = [
        (
            "learning rates",
            format!(
                "chosen on the first events: {} in batches ({} epochs), {} event by event, {} in steps",
                plain(t.batch_rate),
                t.batch_epochs,
                plain(t.online_rate),
                plain(t.step_rate)
            ),
        ),
        ("gain", "over the model that is trained once, with its 95 % interval".into()),
        ("time, CPU", "without the first training; CPU seconds stand for energy".into()),
        ("memory", "planned: arena, weights twice, events that are kept".into()),
        ("age", "mean age, in events, of the newest event that the predicting weights know".into()),
        ("machine", format!("{}, {cores} cores", escape(&processor))),
        ("tidemill", env!("CARGO_PKG_VERSION").into()),
    ];
    page.push_str("<section><h2>How it was measured</h2><dl>");
    for (name, text) in rows {
        let _ = write!(page, "<dt>{name}</dt><dd>{text}</dd>");
    }
    page.push_str("</dl></section>");
}
