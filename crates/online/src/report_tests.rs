#![allow(clippy::unwrap_used)]

use tidemill_engine::metrics::Task;
use tidemill_engine::page::html::STYLE;

use super::*;
use tidemill_engine::prequential::{PrequentialSpec, Truth};

/// Numbers in 0 to 1 that look random.
fn noise(i: usize) -> f32 {
    ((i * 2_654_435_761) % 1009) as f32 / 1009.0
}

/// A stream whose concept changes in the middle, seen by a model that learns (or not).
fn drifting(events: usize, classes: usize, learns: bool) -> Prequential {
    let spec = PrequentialSpec { window: 500, ..Default::default() };
    let mut scores = Prequential::new(Task::Classes, classes, spec);
    for i in 0..events {
        let label = (noise(i / 3) * classes as f32) as usize;
        let since = if i < events / 2 { i } else { i - events / 2 };
        let skill = match learns || i < events / 2 {
            true => 0.95 - 0.7 * (-(since as f32) / (0.05 * events as f32)).exp(),
            false => 0.3,
        };
        let guess = if noise(i + 7) < skill { label } else { (label + 1) % classes };
        let row: Vec<f32> = (0..classes).map(|c| if c == guess { 0.8 } else { 0.1 }).collect();
        scores.add(&row, Truth::Class(label), -(skill.ln()), 1.0);
    }
    scores
}

fn values(events: usize) -> Prequential {
    let mut scores = Prequential::new(Task::Values, 1, PrequentialSpec::default());
    for i in 0..events {
        let target = 40.0 + 30.0 * (i as f32 / 40.0).sin() + 8.0 * noise(i);
        let guess = target + (12.0 * noise(i + 3) - 6.0) * (1.0 + 400.0 / (i + 50) as f32);
        scores.add(&[guess], Truth::Values(&[target]), (guess - target).powi(2), 1.0);
    }
    scores
}

fn sections(learning: &Prequential, frozen: Option<&Prequential>) -> String {
    let class_names = ["cat & dog".to_string(), "eel".into()];
    StreamReport { learning, frozen, class_names: &class_names, drift: None }.sections()
}

fn well_formed(html: &str) {
    for tag in ["section", "figure", "table", "svg", "div", "span", "tr", "td", "th"] {
        let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
        // `<th` also begins `<thead`.
        let heads = if tag == "th" { html.matches("<thead").count() } else { 0 };
        assert_eq!(html.matches(&open).count() - heads, html.matches(&close).count(), "{tag}");
    }
    assert!(!html.contains("NaN") && !html.contains("inf"));
    assert!(!html.contains("epoch"));
}

#[test]
fn a_stream_of_classes() {
    let (learning, frozen) = (drifting(20_000, 10, true), drifting(20_000, 10, false));
    let html = sections(&learning, Some(&frozen));
    well_formed(&html);
    assert_eq!(html.matches("<svg").count(), 4);
    for text in ["no change", "prior", "frozen", "learning", "last 500 events", "20,000 events"] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("cat &amp; dog") && html.contains("<th>7</th>"), "{html}");
    assert!(html.len() < 120_000, "{}", html.len());
    assert!(!sections(&learning, None).contains("frozen"));
}

#[test]
fn a_stream_of_values() {
    let html = sections(&values(5000), None);
    well_formed(&html);
    assert_eq!(html.matches("<svg").count(), 3);
    assert!(html.contains("root of the mean squared error") && !html.contains("By class"));
}

#[test]
fn short_streams() {
    assert!(sections(&drifting(0, 3, true), None).is_empty());
    for events in [1, 2, 11] {
        well_formed(&sections(&drifting(events, 3, true), None));
        well_formed(&sections(&values(events), None));
    }
}

/// Writes the pages to `$TIDEMILL_PAGES`, to be looked at.
#[test]
fn pages_to_look_at() {
    let Some(folder) = std::env::var_os("TIDEMILL_PAGES") else { return };
    let (learning, frozen) = (drifting(60_000, 10, true), drifting(60_000, 10, false));
    let pages = [
        ("classes", sections(&learning, Some(&frozen))),
        ("two", sections(&drifting(3000, 2, true), None)),
        ("values", sections(&values(5000), None)),
    ];
    for (name, html) in pages {
        let path = std::path::Path::new(&folder).join(format!("{name}.html"));
        let head = "<!doctype html><meta charset=utf-8>";
        let page = format!("{head}<style>{STYLE}</style><main><h1>{name}</h1>{html}</main>");
        std::fs::write(path, page).unwrap();
    }
}
