//! What is answered to the senders of events whose labels come later.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_engine::metrics::Task;
use tidemill_engine::nn::{Link, LossSpec};
use tidemill_recipe::stream::features::Labels;
use tidemill_recipe::stream::{Answerer, Position};

use crate::join::Said;

/// Answers records through the source that they came from.
pub(crate) struct Answering {
    answers: Arc<Answerer>,
    task: Task,
    link: Link,
    /// Of the training before.
    class_names: Vec<String>,
    outputs: Vec<f32>,
}

impl Answering {
    /// Answers what a model of this task says, whose classes had these names in the training before.
    pub(crate) fn new(
        answers: Arc<Answerer>,
        (task, loss): (Task, &LossSpec),
        class_names: Vec<String>,
    ) -> Answering {
        Answering { answers, task, link: loss.link(), class_names, outputs: Vec::new() }
    }

    /// Whether a sender waits now.
    pub(crate) fn is_awaited(&self) -> bool {
        self.answers.is_awaited()
    }

    /// The record that ends at `position` was taken.
    pub(crate) fn give(&mut self, position: &Position, said: &Said, labels: Option<&Labels>) {
        let answer = match said {
            Said::Nothing => Value::Null,
            Said::Label(id, what) => json!({ "id": id, "label": what }),
            Said::Predicted { id, logits, scale } => {
                let mut answer = json!({});
                if let Some(id) = id {
                    answer["id"] = json!(id);
                }
                self.outputs.resize(logits.len(), 0.0);
                self.link.probabilities(logits, &mut self.outputs);
                let name = |class| Labels::class_of(labels, class, &self.class_names);
                let separator = labels.and_then(Labels::separator);
                let found = self.task.class_in_words(&self.outputs, logits.len(), separator, name);
                match found {
                    // No class is known yet.
                    None if self.task.has_classes() => answer["prediction"] = Value::Null,
                    Some((class, probability)) => {
                        answer["prediction"] = match separator {
                            Some(by) => class.split_terminator(by).collect(),
                            None => json!(class),
                        };
                        answer["probability"] = json!(probability);
                    }
                    None => {
                        let value = |&v: &f32| scale.value(self.task.value(v));
                        let values: Vec<Option<f64>> = self.outputs.iter().map(value).collect();
                        answer["prediction"] = match &values[..] {
                            [one] => json!(one),
                            several => json!(several),
                        };
                    }
                }
                answer
            }
        };
        self.answers.give(position, answer.to_string());
    }
}
