//! `advise.html`: batch or online, and why.

use std::fmt::Write;
use std::path::Path;

use super::comparison::{quality, scale, write_json};
use crate::words::{estimate, short, speed};
use crate::{Advised, Choice, Evidence};
use tidemill_engine::checkpoint::files::write_synced;
use tidemill_engine::error::Result;
use tidemill_engine::page::chart::{Chart, Line, Over};
use tidemill_engine::page::html::{cards, escape, machine, start};
use tidemill_engine::page::number::{bytes, count};

/// Writes the page, its pictures, and the figures as JSON into a folder.
pub(crate) fn write_advice(folder: &Path, advised: &Advised) -> Result<()> {
    write_synced(&folder.join("advise.html"), page(advised).as_bytes())?;
    let e = &advised.evidence;
    for (name, drawn) in [("interval.svg", by_interval(e)), ("delay.svg", by_delay(e))] {
        let (title, names, lines) = drawn;
        let chart = Chart {
            title,
            scale: scale(e.more_is_better),
            over: Over::Named { what: "events", names },
            lines: &lines,
        };
        write_synced(&folder.join(name), chart.picture().as_bytes())?;
    }
    write_json(&folder.join("advise.json"), advised)
}

fn page(advised: &Advised) -> String {
    let (advice, e) = (&advised.advice, &advised.evidence);
    let stem = Path::new(&e.recipe).file_stem().map(|s| s.to_string_lossy().into_owned());
    let mut page = String::with_capacity(32 * 1024);
    start(&mut page, &escape(&stem.unwrap_or_default()));
    let mut headline = advice.headline.clone();
    headline[..1].make_ascii_uppercase();
    let _ = write!(
        page,
        "<header><p class=\"eyebrow\">tidemill advise</p><h1>{}</h1><p class=\"sub\">{}</p></header>",
        escape(&headline),
        plus_minus(&advice.sentence)
    );
    let each = e.steps.first();
    let gain = each.map_or_else(String::new, |s| estimate(e, s.gain));
    let fast = each.map_or_else(String::new, |s| speed(s.events_per_second));
    let cpu = each.map_or_else(String::new, |s| short(s.cpu_microseconds));
    let planned = match advice.choice {
        Choice::Retrain => e.retrained_bytes,
        _ => e.online_bytes,
    };
    cards(
        &mut page,
        &[
            (
                "To be expected".into(),
                quality(e.more_is_better, advice.quality),
                e.quality.to_string(),
            ),
            (
                "Drift index".into(),
                format!("{:.2}", e.drift.mean),
                format!("&plusmn; {:.2}; 0: order does not matter", e.drift.within),
            ),
            (
                "Event by event".into(),
                each.map_or_else(String::new, |s| quality(e.more_is_better, s.quality)),
                format!("gains {} over trained once", plus_minus(&gain)),
            ),
            (
                "Capacity".into(),
                format!("{fast}<small>/s</small>"),
                format!("event by event; {cpu} us of CPU each"),
            ),
            ("Memory".into(), bytes(planned), "planned, of what is advised".into()),
        ],
    );
    for (title, says) in [("Why", &advice.why), ("What would change it", &advice.would_change)] {
        let _ = write!(page, "<section><h2>{title}</h2><ul class=\"says\">");
        for say in says {
            let _ = write!(page, "<li>{}</li>", plus_minus(say));
        }
        page.push_str("</ul></section>");
    }
    page.push_str("<section><h2>Measured</h2><div class=\"charts\">");
    for (title, names, lines) in [by_interval(e), by_delay(e)] {
        let over = Over::Named { what: "events", names };
        Chart { title, scale: scale(e.more_is_better), over, lines: &lines }.write(&mut page);
    }
    page.push_str("</div></section><section><h2>On line, by events of a step</h2><div class=\"classes wide\">");
    steps(&mut page, e);
    page.push_str("</div></section>");
    details(&mut page, e);
    page.push_str("</main></body></html>\n");
    page
}

fn plus_minus(text: &str) -> String {
    escape(text).replace(" +- ", " &plusmn; ")
}

type Drawn = (String, Vec<String>, Vec<Line>);

/// Quality by update interval; the last place is a model that is never updated.
fn by_interval(e: &Evidence) -> Drawn {
    let mut names: Vec<String> = e.intervals.iter().map(|i| count(i.events as u64)).collect();
    names.push("never".into());
    let mut points: Vec<f64> = e.intervals.iter().map(|i| i.quality).collect();
    points.push(e.frozen);
    let title = format!("{} by events between new weights", upper(e.quality));
    let mut lines = level(e, names.len());
    lines.push(line("event by event", points));
    (title, names, lines)
}

/// Quality by label delay.
fn by_delay(e: &Evidence) -> Drawn {
    let names: Vec<String> = e.delays.iter().map(|i| count(i.events as u64)).collect();
    let title = format!("{} by events that labels come late", upper(e.quality));
    let mut lines = level(e, names.len());
    lines.push(line("event by event", e.delays.iter().map(|d| d.quality).collect()));
    (title, names, lines)
}

fn upper(name: &str) -> String {
    let mut name = name.to_owned();
    name[..1].make_ascii_uppercase();
    name
}

fn line(name: &'static str, values: Vec<f64>) -> Line {
    let figure = values.first().copied();
    let points = values.into_iter().enumerate().map(|(i, v)| (i as f64, v)).collect();
    Line { figure, ..Line::new("valid", name, points) }
}

/// What does not depend on the interval.
fn level(e: &Evidence, places: usize) -> Vec<Line> {
    let flat = |v: f64| vec![(0.0, v), (places.saturating_sub(1) as f64, v)];
    let mut lines = vec![
        Line::new("train", "trained once", flat(e.frozen)),
        Line::new("dashed", "retrained", flat(e.retrained.quality)),
    ];
    let near = if e.more_is_better {
        e.baselines.no_change > e.frozen - 0.1
    } else {
        e.baselines.no_change < 2.0 * e.frozen
    };
    if near {
        lines.push(Line::new("dotted", "the last label again", flat(e.baselines.no_change)));
    }
    lines
}

fn steps(page: &mut String, e: &Evidence) {
    let _ = write!(
        page,
        "<figure class=\"scroll\"><table class=\"figures\"><thead><tr><th></th><th>{}</th><th>over the retrained</th>\
         <th>events/s</th><th>CPU us</th></tr></thead><tbody>",
        e.quality
    );
    for s in &e.steps {
        let _ = write!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            s.events,
            quality(e.more_is_better, s.quality),
            plus_minus(&estimate(e, s.over_retrained)),
            speed(s.events_per_second),
            short(s.cpu_microseconds)
        );
    }
    let r = &e.retrained;
    let _ = write!(
        page,
        "<tr><th>retrained every {}</th><td>{}</td><td></td><td></td><td>{}</td></tr></tbody></table></figure>",
        count(r.every as u64),
        quality(e.more_is_better, r.quality),
        short(r.cpu_microseconds)
    );
}

fn details(page: &mut String, e: &Evidence) {
    let (processor, cores) = machine();
    let late = match e.label_delay {
        0 => "at once".into(),
        n => format!("{} events late", count(n as u64)),
    };
    let rows = [
        (
            "data",
            format!(
                "{}: {} events train, {} are scored",
                escape(&e.source),
                count(e.first as u64),
                count(e.scored as u64)
            ),
        ),
        ("labels come", late),
        (
            "drift index",
            "the share of the skill (over the most frequent class, or the mean) of a model that learns event \
             by event which one that is trained once misses because events come in the order of time: \
             its gain in order less its gain shuffled"
                .into(),
        ),
        ("&plusmn;", "95 % intervals, from twenty blocks of events".into()),
        ("machine", format!("{}, {cores} cores", escape(&processor))),
        ("tidemill", env!("CARGO_PKG_VERSION").into()),
    ];
    page.push_str("<section><h2>How it was measured</h2><dl>");
    for (name, text) in rows {
        let _ = write!(page, "<dt>{name}</dt><dd>{text}</dd>");
    }
    page.push_str("</dl></section>");
}
