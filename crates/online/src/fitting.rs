//! What the columns and labels of first events are, and whether they fit the model.

use std::collections::BTreeSet;

use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::Task;
use tidemill_engine::nn::ModelSpec;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::online::OnlineSpec;
use tidemill_recipe::online::join::Missing;
use tidemill_recipe::stream::features::{Encoder, HashedColumns, Labels};
use tidemill_recipe::stream::{Events, FeaturesSpec, Note, Schema, Value};
use tidemill_recipe::tables::{check_inputs, wanted_columns};

use crate::error::stream_error;
use crate::model::{StreamModel, Takes};

/// What a model wants of events.
#[derive(Clone)]
pub(crate) struct Fitting {
    spec: OnlineSpec,
    model: ModelSpec,
    task: Task,
    /// Whether a linear model takes hashed features, and not a network fields.
    is_linear: bool,
    /// Whether an image is the only input.
    is_image: bool,
    outputs: usize,
    class_names: Vec<String>,
    /// What is between the classes of a label that has any number of them, and their names where each has a column.
    sets: Option<(char, Vec<String>)>,
}

impl Fitting {
    /// What `model` wants as the recipe says; `class_names` are those of batch training before.
    ///
    /// # Errors
    /// If options of columns exclude each other.
    pub(crate) fn new(
        file: &RecipeFile,
        model: &dyn StreamModel,
        class_names: Vec<String>,
    ) -> Result<Fitting> {
        Ok(Fitting {
            spec: OnlineSpec { features: file.features()?, ..file.recipe.online.clone() },
            model: file.recipe.model.clone(),
            task: file.recipe.task(),
            is_linear: matches!(model.takes(), Takes::Features),
            is_image: file.recipe.stream.image.is_some(),
            outputs: model.num_outputs(),
            class_names,
            sets: file.sets(),
        })
    }

    pub(crate) fn task(&self) -> Task {
        self.task
    }

    pub(crate) fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Whether a header, or the `first` event under it, is one that the model can learn from; `known` says whether its
    /// columns are known already.
    ///
    /// # Errors
    /// Says what does not fit.
    pub(crate) fn check(
        &self,
        schema: &Schema,
        first: Option<&Events>,
        known: bool,
    ) -> std::result::Result<(), String> {
        let (has, wants) = (schema.columns.len() + schema.vector, wanted_columns(&self.model));
        if has == 0 && !schema.sparse {
            return Err("the header has no column that could be an input".into());
        }
        let by_columns = !self.is_linear && !self.is_image && !known;
        if by_columns && has > wants && self.model.inputs.is_empty() {
            return Err(format!("the model is for {wants} inputs, and the columns are {has}"));
        }
        let Some(first) = first else { return Ok(()) };
        if self.is_linear {
            self.hashed(schema).map(|_| ()).map_err(|e| e.to_string())?;
        } else if by_columns && !schema.sparse {
            self.encoder(schema, first, "").map(|_| ()).map_err(|e| e.to_string())?;
        }
        let seen: Vec<_> = (0..first.len()).map(|i| first.get(i).label()).collect();
        let seen: Vec<_> = seen.into_iter().filter(|label| *label != Value::Missing).collect();
        self.labels(&seen, None).map(|_| ()).map_err(|e| e.to_string())
    }

    /// How a linear model sees the columns.
    ///
    /// # Errors
    /// If columns are to interact that are not there.
    pub(crate) fn hashed(&self, schema: &Schema) -> Result<HashedColumns> {
        let interactions = self.spec.linear.as_ref().map_or(&[][..], |l| &l.interactions);
        let wrong = |what| Error::Usage(format!("online.linear.interactions {what}"));
        HashedColumns::new(schema, interactions).map_err(wrong)
    }

    /// The encoder for columns of which the first events are known. Columns without any value so far are
    /// numbers, or texts where that alone fits the model. `hints` are said where neither fits.
    ///
    /// # Errors
    /// If the columns do not fit the model.
    pub(crate) fn encoder(&self, schema: &Schema, first: &Events, hints: &str) -> Result<Encoder> {
        let encoder = Encoder::new(&self.spec.features, schema, first).map_err(stream_error)?;
        let Err(unfit) = check_inputs(&encoder, &self.model) else { return Ok(encoder) };
        let features = FeaturesSpec { unknown_is_text: true, ..self.spec.features.clone() };
        let other = Encoder::new(&features, schema, first).map_err(stream_error)?;
        match check_inputs(&other, &self.model) {
            Ok(()) => Ok(other),
            Err(_) => Err(Error::Usage(format!("{unfit}{hints}"))),
        }
    }

    /// What was said of columns, for the error that they do not fit.
    pub(crate) fn hints<'n>(notes: impl Iterator<Item = &'n Note>) -> String {
        notes.map(|note| format!("; {note}")).collect()
    }

    /// What is between the classes of a label that has several.
    pub(crate) fn separator(&self) -> Option<char> {
        self.sets.as_ref().map(|(separator, _)| *separator)
    }

    /// What labels like the ones seen are: of a file, `found` are all of its start.
    ///
    /// # Errors
    /// If events without a label are to be of class 0, and it is not known which that is.
    pub(crate) fn labels(
        &self,
        seen: &[Value<'_>],
        found: Option<&BTreeSet<String>>,
    ) -> Result<Labels> {
        let outputs = self.outputs;
        let named = self.spec.classes.as_ref().unwrap_or(&self.class_names);
        let negative = self.spec.labels.as_ref().is_some_and(|l| l.missing == Missing::Negative);
        // A few labels may be broken.
        let most = |fits: &dyn Fn(f64) -> bool| {
            let fitting = seen.iter().filter(|label| Labels::number(**label).is_some_and(fits));
            10 * fitting.count() >= 9 * seen.len()
        };
        let output = |n: f64| n >= 0.0 && n < outputs as f64 && n.fract() == 0.0;
        if let Some((separator, columns)) = &self.sets {
            let known = match (columns.is_empty(), named.is_empty(), found) {
                (true, true, Some(found)) => Labels::found(outputs, found),
                (true, ..) => Labels::classes(outputs, named),
                (false, ..) => Labels::classes(outputs, columns),
            };
            return Ok(known.into_sets(*separator));
        }
        let labels = match self.task {
            task if !task.has_classes() => {
                let scale = self.spec.scale_targets && task.in_any_units();
                Labels::values(scale && outputs == 1)
            }
            _ if !named.is_empty() => Labels::classes(outputs.max(2), named),
            // Class 0 is the one of events whose label never comes.
            Task::Binary if negative && most(&|n| matches!(n, 0.0 | 1.0 | -1.0)) => Labels::Binary,
            Task::Classes if negative && most(&output) => {
                Labels::classes(outputs, &["0".to_owned()])
            }
            _ => match found {
                Some(found) if !negative => Labels::found(outputs.max(2), found),
                _ => Labels::classes(outputs.max(2), &[]),
            },
        };
        if negative && labels.names().is_empty() && self.task.has_classes() {
            return Err(Error::Usage(
                "online.labels.missing = \"negative\" means class 0, and the labels are no numbers: \
                 name the classes in online.classes, the negative one first"
                    .into(),
            ));
        }
        Ok(labels)
    }
}
