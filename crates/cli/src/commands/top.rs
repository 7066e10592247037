//! `tidemill top`

use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with runs, in it or below it.
    #[arg(default_value = "runs")]
    folder: PathBuf,
}

#[cfg(not(feature = "top"))]
pub(crate) fn run(_: &Arguments) -> crate::failure::Result {
    Err(crate::failure::Failure::usage(
        "top: this program was built without it; build it with --features top",
    ))
}

#[cfg(feature = "top")]
pub(crate) use shown::run;

#[cfg(feature = "top")]
mod shown {
    use std::io::IsTerminal;
    use std::path::Path;
    use std::process::ExitCode;
    use std::time::Duration;

    use ratatui::Frame;
    use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
    use ratatui::layout::{Constraint, Layout, Rect};
    use ratatui::style::{Color, Modifier, Style};
    use ratatui::symbols::Marker;
    use ratatui::text::Line;
    use ratatui::widgets::{
        Axis, Block, Cell, Chart, Dataset, GraphType, Paragraph, Row, Table, TableState,
    };
    use tidemill_engine::metrics::Metric;
    use tidemill_engine::page::number::{count, duration, plural};
    use tidemill_train::runs::{RunShown, figure_names, runs_below};

    use super::Arguments;
    use crate::failure::{Failure, Result};

    /// How often the runs' files are read.
    const EVERY: Duration = Duration::from_secs(1);

    /// What is on the screen.
    struct Top {
        runs: Vec<RunShown>,
        /// Runs whose files cannot be read.
        left_out: usize,
        table: TableState,
        /// The figure of the chart, by its place in the selected run's.
        figure: usize,
    }

    pub(crate) fn run(arguments: &Arguments) -> Result {
        if !std::io::stdout().is_terminal() {
            return Err(Failure::usage(
                "top: standard output is no terminal; `tidemill runs` prints a table of the runs",
            ));
        }
        // Before the terminal changes, so that an error can be read.
        let mut top = Top::read(&arguments.folder, None)?;
        // A signal ends it like the key, so that the terminal is as it was.
        let interrupt = crate::interrupt::flag();
        let failed =
            |e: std::io::Error| Failure::failed(format!("the terminal cannot be used: {e}"));
        let mut terminal = ratatui::try_init().map_err(failed)?;
        let ended = loop {
            if let Err(e) = terminal.draw(|frame| top.draw(frame, &arguments.folder)) {
                break Err(failed(e));
            }
            if interrupt.load(std::sync::atomic::Ordering::Relaxed) {
                break Ok(ExitCode::SUCCESS);
            }
            match key() {
                Err(e) => break Err(failed(e)),
                Ok(Some(KeyCode::Char('q') | KeyCode::Esc)) => break Ok(ExitCode::SUCCESS),
                Ok(Some(KeyCode::Down | KeyCode::Char('j'))) => top.table.select_next(),
                Ok(Some(KeyCode::Up | KeyCode::Char('k'))) => top.table.select_previous(),
                Ok(Some(KeyCode::Char('f') | KeyCode::Tab)) => top.figure += 1,
                Ok(Some(_)) => {}
                Ok(None) => match Top::read(&arguments.folder, Some(&top)) {
                    Ok(read) => top = read,
                    Err(e) => break Err(e),
                },
            }
        };
        ratatui::restore();
        ended
    }

    /// The key that was pressed; none if none was for a while. Ctrl-C is q: the terminal sends it as a key.
    fn key() -> std::io::Result<Option<KeyCode>> {
        if !event::poll(EVERY)? {
            return Ok(None);
        }
        Ok(Some(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Press => KeyCode::Null,
            Event::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) => match key.code {
                KeyCode::Char('c') => KeyCode::Char('q'),
                _ => KeyCode::Null,
            },
            Event::Key(key) => key.code,
            // Such as another size of the window: it is drawn again.
            _ => KeyCode::Null,
        }))
    }

    impl Top {
        /// Reads the runs; those under way come first. What was selected stays so.
        fn read(folder: &Path, before: Option<&Top>) -> Result<Top> {
            let mut left_out = 0;
            let mut runs = runs_below(folder, &mut |_| left_out += 1)?;
            if runs.is_empty() && before.is_none() {
                let what = format!("{}: no run is in it or below it", folder.display());
                return Err(Failure::failed(what));
            }
            runs.sort_by_key(|run| run.writer.is_none());
            let path =
                before.and_then(|top| Some(top.runs.get(top.table.selected()?)?.path.clone()));
            let place = path.and_then(|path| runs.iter().position(|run| run.path == path));
            let table = TableState::default().with_selected(place.unwrap_or(0));
            Ok(Top { runs, left_out, table, figure: before.map_or(0, |top| top.figure) })
        }

        fn draw(&mut self, frame: &mut Frame<'_>, folder: &Path) {
            let rows = (self.runs.len() as u16 + 3).min(frame.area().height / 2);
            let [head, table, chart, keys] = Layout::vertical([
                Constraint::Length(1),
                Constraint::Length(rows),
                Constraint::Min(3),
                Constraint::Length(1),
            ])
            .areas(frame.area());
            let running = self.runs.iter().filter(|run| run.writer.is_some()).count();
            let damaged = match self.left_out {
                0 => String::new(),
                n => format!(", {n} that cannot be read"),
            };
            let runs = plural(self.runs.len() as u64, "run");
            let text = format!("{}: {runs}, {running} running{damaged}", folder.display());
            frame.render_widget(Paragraph::new(text).style(Modifier::BOLD), head);
            self.draw_table(frame, table);
            if let Some(run) = self.table.selected().and_then(|i| self.runs.get(i)) {
                draw_chart(frame, chart, run, self.figure);
            }
            let help = "up, down: another run   f: another figure   q: end";
            frame.render_widget(Paragraph::new(help).style(Modifier::DIM), keys);
        }

        fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
            let names: Vec<String> = self.runs.iter().fold(Vec::new(), |mut names, run| {
                names.extend(
                    run.figures
                        .keys()
                        .filter(|name| !names.contains(name))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
                names
            });
            // As many figures as there is room for.
            let room = usize::from(area.width).saturating_sub(56) / 12;
            let names = &names[..names.len().min(room)];
            let right = |text: String| Cell::from(Line::from(text).right_aligned());
            let head = ["run", "state", "epochs", "steps", "time"].map(String::from);
            let head = head.into_iter().enumerate().map(|(i, text)| match i {
                0 | 1 => Cell::from(text),
                _ => right(text),
            });
            let head = Row::new(head.chain(names.iter().map(|name| right(name.clone()))));
            let rows = self.runs.iter().map(|run| {
                let figure = |name: &String| {
                    right(run.figures.get(name).map_or("-".into(), |&v| Metric::text(name, v)))
                };
                let state = match run.writer {
                    Some(_) => Cell::from("running").style(Color::Green),
                    None => Cell::from(run.state()),
                };
                let own = [
                    Cell::from(run.name.clone()),
                    state,
                    right(count(run.epochs)),
                    right(count(run.steps)),
                    right(duration(run.wall_seconds)),
                ];
                Row::new(own.into_iter().chain(names.iter().map(figure)))
            });
            let widths = [Constraint::Min(10), Constraint::Length(12), Constraint::Length(7)];
            let widths = widths.into_iter().chain([Constraint::Length(11), Constraint::Length(9)]);
            let widths =
                widths.chain(names.iter().map(|name| Constraint::Length(name.len().max(9) as u16)));
            let table = Table::new(rows, widths)
                .header(head.style(Style::new().add_modifier(Modifier::BOLD)))
                .row_highlight_style(Modifier::REVERSED)
                .block(Block::bordered());
            frame.render_stateful_widget(table, area, &mut self.table);
        }
    }

    /// The course of a figure over the epochs of a run: of training, and of validation where there is some.
    fn draw_chart(frame: &mut Frame<'_>, area: Rect, run: &RunShown, figure: usize) {
        let names = figure_names(run);
        let block = Block::bordered();
        let Some(name) = names.get(figure % names.len().max(1)).filter(|_| run.history.len() > 1)
        else {
            let text = "curves come with the second epoch of batch training";
            frame.render_widget(Paragraph::new(text).block(block.title(run.name.clone())), area);
            return;
        };
        let points = |validation: bool| -> Vec<(f64, f64)> {
            let side = |e: &'_ tidemill_engine::checkpoint::EpochFigures| {
                let figures = if validation { &e.validation } else { &e.train };
                figures
                    .get(*name)
                    .map(|&value| (e.epoch as f64, value))
                    .filter(|(_, v)| v.is_finite())
            };
            run.history.iter().filter_map(side).collect()
        };
        let (train, validation) = (points(false), points(true));
        let all = || train.iter().chain(&validation);
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
            if low < high { [low, high] } else { [low - 0.5, low + 0.5] }
        };
        let x = bounds(&mut all().map(|p| p.0));
        let y = bounds(&mut all().map(|p| p.1));
        let line = |label: &'static str, color, data| {
            Dataset::default()
                .name(label)
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .style(color)
                .data(data)
        };
        let mut lines = vec![line("training", Color::Blue, &train[..])];
        if !validation.is_empty() {
            lines.push(line("validation", Color::Yellow, &validation[..]));
        }
        let chart = Chart::new(lines)
            .block(block.title(format!("{}: {name}", run.name)))
            .x_axis(Axis::default().title("epoch").bounds(x).labels(x.map(|v| format!("{v:.0}"))))
            .y_axis(
                Axis::default()
                    .bounds(y)
                    .labels([y[0], (y[0] + y[1]) / 2.0, y[1]].map(|v| Metric::text(name, v))),
            );
        frame.render_widget(chart, area);
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    mod tests {
        use super::*;
        use ratatui::Terminal;
        use ratatui::backend::TestBackend;

        fn screen(top: &mut Top, width: u16, height: u16) -> String {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| top.draw(frame, Path::new("runs"))).unwrap();
            terminal.backend().to_string()
        }

        #[test]
        fn runs_and_their_curves_are_drawn_also_on_a_small_screen() {
            let figures =
                |loss: f64| [("loss".to_owned(), loss), ("accuracy".to_owned(), 1.0 - loss)].into();
            let epoch = |n: u64| tidemill_engine::checkpoint::EpochFigures {
                epoch: n,
                step: 10 * n,
                online_steps: 0,
                samples: 320 * n,
                learning_rate: 0.1,
                wall_seconds: n as f64,
                train: figures(1.0 / n as f64),
                validation: figures(1.1 / n as f64),
            };
            let run = |name: &str, writer| RunShown {
                path: name.into(),
                name: name.into(),
                stopped_by: None,
                writer,
                steps: 40,
                epochs: 4,
                wall_seconds: 4.0,
                figures: figures(0.275),
                validated: true,
                history: (1..=4).map(epoch).collect(),
            };
            let runs = vec![run("first", Some(7)), run("second", None)];
            let table = TableState::default().with_selected(0);
            let mut top = Top { runs, left_out: 1, table, figure: 0 };
            let text = screen(&mut top, 100, 30);
            for part in [
                "runs: 2 runs, 1 running, 1 that cannot be read",
                "running",
                "not finished",
                "first: accuracy",
                "72.50 %",
                "validation",
                "epoch",
            ] {
                assert!(text.contains(part), "{part} is missing:\n{text}");
            }
            top.figure = 1;
            assert!(screen(&mut top, 100, 30).contains("first: loss"));
            screen(&mut top, 20, 5);
            top.runs.clear();
            screen(&mut top, 80, 24);
        }
    }
}
