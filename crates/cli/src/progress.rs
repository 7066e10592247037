//! What a run shows while it runs: a bar on a terminal, else a line for each epoch, and one now and
//! then within long epochs.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidemill_engine::checkpoint::EpochFigures;
use tidemill_engine::page::number::{count, duration, figure, percent};
use tidemill_train::watch::in_words;
use tidemill_train::{Event, Progress};

use crate::print::tell;

/// Shows a run's events on standard error.
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    epochs: u64,
    /// When the last line was written.
    last: Instant,
}

/// How long nothing is written where there is no terminal.
const SILENCE: Duration = Duration::from_secs(10);

impl Display {
    /// A display for a run of `epochs`.
    pub(crate) fn new(epochs: u64) -> Display {
        let bar = std::io::stderr().is_terminal().then(|| {
            // Drawn when told, ten times a second at most: no thread of its own beside the step's.
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:26.cyan} {msg}") {
                bar.set_style(style.progress_chars("\u{2501}\u{2578} "));
            }
            bar
        });
        Display { bar, epochs, last: Instant::now() }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Notice(text) => self.line(&format!("note: {text}")),
            Event::Epoch(epoch) => {
                let line = self.epoch_line(epoch);
                self.line(&line);
            }
            Event::Progress(progress) => {
                if let Some(bar) = &self.bar {
                    draw(bar, &progress);
                } else if self.last.elapsed() >= SILENCE {
                    self.line(&progress_line(&progress));
                }
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, text: &str) {
        self.last = Instant::now();
        match &self.bar {
            Some(bar) => bar.suspend(|| tell!("{text}")),
            None => tell!("{text}"),
        }
    }

    fn epoch_line(&self, epoch: &EpochFigures) -> String {
        let width = self.epochs.to_string().len();
        let mut line =
            format!("epoch {:>width$}/{}  {}", epoch.epoch, self.epochs, in_words(&epoch.train));
        if !epoch.validation.is_empty() {
            line += &format!("  | validation: {}", in_words(&epoch.validation));
        }
        line + &format!("  ({})", duration(epoch.wall_seconds))
    }
}

fn draw(bar: &ProgressBar, p: &Progress) {
    bar.set_length(p.steps);
    bar.set_position(p.step);
    bar.set_prefix(format!("epoch {}/{}", p.epoch, p.epochs));
    bar.set_message(figures(p));
    bar.tick();
}

fn progress_line(p: &Progress) -> String {
    format!("epoch {}/{}, step {}/{}  {}", p.epoch, p.epochs, p.step, p.steps, figures(p))
}

fn figures(p: &Progress) -> String {
    let accuracy = p.accuracy.map_or(String::new(), |a| format!("  accuracy {}", percent(a)));
    format!(
        "loss {}{accuracy}  {}/s  {} left",
        figure(p.loss),
        count(p.samples_per_second as u64),
        duration(p.seconds_left)
    )
}
