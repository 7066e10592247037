//! The answer in plain words.

use super::decide::{Advice, Choice};
use super::measure::Evidence;
use crate::compare::Estimate;
use tidemill_engine::page::number::{count, figure, percent};

/// Writes headline, sentence, reasons, and what would change the answer.
pub(super) fn fill(e: &Evidence, advice: &mut Advice) {
    advice.headline = headline(e, advice);
    advice.sentence = sentence(e, advice);
    advice.why = why(e);
    advice.would_change = match advice.choice {
        Choice::Online => against_online(e, advice),
        Choice::Retrain | Choice::TrainOnce => against_batch(e, advice),
        Choice::Undecided => vec![format!(
            "More data: about {} scored events would show a difference of {}.",
            count(enough(e)),
            amount(e, 2.0 * e.worth())
        )],
    };
}

/// A quality: `90.80 %`, or an error.
pub fn quality(e: &Evidence, value: f64) -> String {
    if e.more_is_better { percent(value) } else { figure(value) }
}

/// A difference of qualities.
pub fn amount(e: &Evidence, value: f64) -> String {
    match e.more_is_better {
        true if value.abs() < 0.00995 => format!("{:.2} points", 100.0 * value),
        true => format!("{:.1} points", 100.0 * value),
        false => figure(value),
    }
}

/// A difference with its uncertainty.
pub fn estimate(e: &Evidence, gain: Estimate) -> String {
    match e.more_is_better {
        true if gain.mean.abs().max(gain.within) < 0.00995 => {
            format!("{:.2} +- {:.2} points", 100.0 * gain.mean, 100.0 * gain.within)
        }
        true => format!("{:.1} +- {:.1} points", 100.0 * gain.mean, 100.0 * gain.within),
        false => format!("{} +- {}", figure(gain.mean), figure(gain.within)),
    }
}

/// How the better one of the retrained models is trained.
pub fn retrained(e: &Evidence) -> String {
    let on = match e.retrained.window {
        None => "all events so far".into(),
        Some(n) => format!("the newest {}", count(n as u64)),
    };
    format!("retrained every {} events on {on}", count(e.retrained.every as u64))
}

/// A speed, to two or three digits.
pub fn speed(per_second: f64) -> String {
    let digits = 10f64.powf((per_second.max(1.0).log10().floor() - 1.0).max(0.0));
    count(((per_second / digits).round() * digits) as u64)
}

fn headline(e: &Evidence, advice: &Advice) -> String {
    let interval = count(advice.interval.unwrap_or(0) as u64);
    match (advice.choice, advice.step) {
        (Choice::Online, Some(1)) if advice.interval == Some(1) => "online, event by event".into(),
        (Choice::Online, Some(1)) => format!("online, new weights every {interval} events"),
        (Choice::Online, _) => format!("online, in steps of {interval} events"),
        (Choice::Retrain, _) => match e.retrained.window {
            None => format!("batch, retrained every {interval} events on all of them"),
            Some(n) => {
                format!(
                    "batch, retrained every {interval} events on the newest {}",
                    count(n as u64)
                )
            }
        },
        (Choice::TrainOnce, _) => "batch, trained once".into(),
        (Choice::Undecided, _) => "undecided: too little data".into(),
    }
}

/// Where the answer is worse than repeating the last label, that comes first.
fn sentence(e: &Evidence, advice: &Advice) -> String {
    let expected = expected(e, advice);
    let (guess, sign) = match e.more_is_better {
        true => ("label", 1.0),
        false => ("value", -1.0),
    };
    match sign * (advice.quality - e.baselines.no_change) < 0.0 {
        true => format!(
            "Repeating the last {guess} is better than this model, with {} {}. {expected}",
            e.quality,
            quality(e, e.baselines.no_change)
        ),
        false => expected,
    }
}

fn expected(e: &Evidence, advice: &Advice) -> String {
    let name = e.quality;
    let at = quality(e, advice.quality);
    let other = format!("{} ({})", retrained(e), quality(e, e.retrained.quality));
    match advice.choice {
        Choice::Online => format!(
            "Expect {name} {at}: {} better than the best batch model, {other}.",
            estimate(e, advice.gain)
        ),
        Choice::Retrain => format!(
            "Expect {name} {at}: {} better than trained once ({}); learning event by event {} ({}).",
            estimate(e, advice.gain),
            quality(e, e.frozen),
            against_retrained(e),
            quality(e, single(e))
        ),
        Choice::TrainOnce => format!(
            "Expect {name} {at}. A model {other} is not surely better; learning event by event {} ({}).",
            against_frozen(e),
            quality(e, single(e))
        ),
        Choice::Undecided => format!(
            "On {} scored events, learning event by event is {} better than {other}: that may be \
             chance.",
            count(e.scored as u64),
            estimate(e, advice.gain)
        ),
    }
}

fn single(e: &Evidence) -> f64 {
    e.steps.first().map_or(f64::NAN, |s| s.quality)
}

/// Learning event by event against trained once.
fn against_frozen(e: &Evidence) -> String {
    let gain = e.steps.first().map(|s| s.gain).unwrap_or_default();
    match gain {
        gain if e.matters(gain) && e.step().is_none() => {
            format!("would be {} better, but cannot keep up", amount(e, gain.mean))
        }
        gain if gain.is_gain() => format!("is only {} better", amount(e, gain.mean)),
        gain if gain.is_loss() => format!("is {} worse", amount(e, -gain.mean)),
        _ => "is not surely better either".into(),
    }
}

/// Learning event by event against the retrained model.
fn against_retrained(e: &Evidence) -> String {
    let over = e.steps.first().map(|s| s.over_retrained).unwrap_or_default();
    match over {
        over if e.matters(over) => "would be better, but cannot keep up".into(),
        over if over.is_loss() => {
            let less = Estimate { mean: -over.mean, ..over };
            format!("is {} worse than that", estimate(e, less))
        }
        over if over.is_gain() => format!("is only {} better", amount(e, over.mean)),
        _ => "is as good".into(),
    }
}

fn why(e: &Evidence) -> Vec<String> {
    let mut why = Vec::new();
    let digits = if e.drift.mean.max(e.drift.within) < 0.00995 { 3 } else { 2 };
    let index = format!("Drift index {:.digits$} +- {:.digits$}", e.drift.mean, e.drift.within);
    let changes = e.drifts();
    let guess = if e.more_is_better { "naming the most frequent class" } else { "the mean" };
    let sign = if e.more_is_better { 1.0 } else { -1.0 };
    let best = e.steps.iter().map(|s| s.quality).chain([e.frozen, e.retrained.quality]);
    if best.into_iter().all(|q| sign * (q - e.baselines.majority) <= 0.0) {
        why.push(format!(
            "Beware: no way of training beats {guess} ({}): the model learns nothing from these inputs.",
            quality(e, e.baselines.majority)
        ));
    }
    why.push(match changes {
        _ if e.drift.within >= 1.0 => {
            format!("Drift index unknown: learning event by event is no better than {guess}.")
        }
        true => format!(
            "{index}: because of time, a model trained once misses {:.0} % of the skill of one that \
             learns event by event.",
            100.0 * e.drift.mean
        ),
        false => format!("{index}: order does not matter, learning on gains no more in order than shuffled."),
    });
    if let Some(each) = e.steps.first() {
        why.push(format!(
            "Learning event by event gains {} over trained once; shuffled, where order does not matter, {}.",
            estimate(e, each.gain),
            estimate(e, e.shuffled_gain)
        ));
        let guess = sign * (e.baselines.no_change - e.frozen);
        if each.gain.is_gain() && guess > 0.0 {
            why.push(format!(
                "Beware: repeating the last label has {} {} already, which is {:.0} % of that gain \
                 without any model.",
                e.quality,
                quality(e, e.baselines.no_change),
                (100.0 * guess / each.gain.mean).min(100.0)
            ));
        }
        if let Some(rate) = e.rate {
            let much = each.events_per_second / rate;
            why.push(match much >= 1.0 {
                true => format!(
                    "{} events a second are expected; this machine learns from {} one by one.",
                    speed(rate),
                    speed(each.events_per_second)
                ),
                false => format!(
                    "{} events a second are expected, and this machine learns from only {} one by one.",
                    speed(rate),
                    speed(each.events_per_second)
                ),
            });
        }
    }
    why
}

fn against_online(e: &Evidence, advice: &Advice) -> Vec<String> {
    let mut changes = Vec::new();
    let now = e.delays.iter().find(|d| d.events == e.label_delay).map_or(0.0, |d| d.gain.mean);
    let mut later = e.delays.iter().filter(|d| d.events > e.label_delay);
    match later.find(|d| d.gain.mean < 0.5 * now) {
        Some(d) => {
            let batch = match d.gain.mean <= e.retrained.gain.mean + e.worth() {
                true => ", and batch training is as good",
                false => "",
            };
            changes.push(format!(
                "Labels that come {} events late or later: of the gain of {} over trained once, {} \
                 stay{batch}.",
                count(d.events as u64),
                amount(e, now),
                amount(e, d.gain.mean)
            ));
        }
        None => {
            if let Some(d) = e.delays.last().filter(|d| d.events > e.label_delay) {
                changes.push(format!(
                    "Not late labels: {} events late, {} of {} stay.",
                    count(d.events as u64),
                    amount(e, d.gain.mean),
                    amount(e, now)
                ));
            }
        }
    }
    let step = e.steps.iter().find(|s| Some(s.events) == advice.step);
    if let Some(step) = step {
        let next = e
            .steps
            .iter()
            .find(|s| s.events > step.events && s.events_per_second > 1.2 * step.events_per_second);
        let then = match next {
            Some(n) => format!(
                "then steps of {} reach {}, with {} {}",
                n.events,
                speed(n.events_per_second),
                e.quality,
                quality(e, n.quality)
            ),
            None => "then only a part of them can be learned from".into(),
        };
        changes.push(format!(
            "More than {} events a second on this machine; {then}.",
            speed(0.7 * step.events_per_second)
        ));
        if step.cpu_microseconds > 1.2 * e.retrained.cpu_microseconds {
            changes.push(format!(
                "CPU time that counts more than {}: {} us an event against {} us of the retrained \
                 model.",
                amount(e, advice.gain.mean),
                short(step.cpu_microseconds),
                short(e.retrained.cpu_microseconds)
            ));
        }
    }
    if e.drift.is_gain() {
        changes.push("A stream that stops changing: then batch training is enough.".into());
    }
    changes
}

fn against_batch(e: &Evidence, advice: &Advice) -> Vec<String> {
    let mut changes = vec![if e.drift.mean >= 0.1 {
        "A faster change, or labels that come sooner: measure again on newer data.".to_owned()
    } else {
        "A drift index above 0.1: measure again when there is newer data.".to_owned()
    }];
    let Some(each) = e.steps.first() else { return changes };
    if e.matters(each.over_retrained) && e.matters(each.gain) {
        changes.push(format!(
            "A faster machine, or at most {} events a second: event by event is {} better.",
            speed(0.7 * each.events_per_second),
            amount(e, each.over_retrained.mean)
        ));
    }
    let retrains = advice.choice == Choice::Retrain;
    if retrains && e.retrained.cpu_microseconds > 2.0 * each.cpu_microseconds {
        changes.push(format!(
            "CPU time that counts more than {}: event by event takes {} us an event, trainings {} us.",
            amount(e, (-each.over_retrained.mean).max(0.0)),
            short(each.cpu_microseconds),
            short(e.retrained.cpu_microseconds)
        ));
    }
    if retrains && e.retrained_bytes > 2 * e.online_bytes {
        let mb = |bytes: u64| short(bytes as f64 / 1e6);
        changes.push(format!(
            "Less memory than {} MB, most of it for the events to train on: event by event needs {} MB.",
            mb(e.retrained_bytes),
            mb(e.online_bytes)
        ));
    }
    let seconds = e.retrained.training.free_seconds();
    if retrains && seconds > 1e-6 {
        changes.push(format!(
            "More than {} events a second: a training takes {} s, and would not be done before the next.",
            speed(e.retrained.every as f64 / seconds),
            short(seconds)
        ));
    }
    changes
}

/// Three digits.
pub fn short(v: f64) -> String {
    match v {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// Events that would show a difference of twice what matters, if blocks stay as uneven.
fn enough(e: &Evidence) -> u64 {
    let within = e.steps.first().map_or(0.0, |s| s.over_retrained.within);
    let more = (within / (2.0 * e.worth())).powi(2).clamp(2.0, 1e4);
    let n = (e.scored as f64 * more).max(1000.0);
    crate::compare::study::round(n as usize) as u64
}
