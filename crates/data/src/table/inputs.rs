//! What a model with named inputs reads of a row: the encoded columns, and columns of texts.

use tidemill_fields::{Field, Row};
use tidemill_table::{BadEvent, Encoder, Event, Schema, Value};

use crate::text::words::TextIds;

/// What one input of a model is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableInput {
    /// All columns that no other input reads, as the encoder makes numbers of them.
    Encoded,
    /// The words of the column that has the input's name.
    Words(TextIds),
}

/// The inputs of a model in its order, by name; none for a model of a single input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableInputs(pub Vec<(String, TableInput)>);

impl TableInputs {
    /// The field that the encoder fills, if there is one.
    pub fn encoded(&self) -> Option<usize> {
        match self.0.is_empty() {
            true => Some(0),
            false => self.0.iter().position(|(_, input)| *input == TableInput::Encoded),
        }
    }

    /// The columns that are texts.
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        self.words().map(|(_, name, _)| name)
    }

    /// The fields that are words: their place, their column and its ids.
    pub fn words(&self) -> impl Iterator<Item = (usize, &String, TextIds)> {
        self.0.iter().enumerate().filter_map(|(i, (name, input))| match *input {
            TableInput::Words(ids) => Some((i, name, ids)),
            TableInput::Encoded => None,
        })
    }

    /// The fields of a row of which the encoder makes `width` numbers.
    pub fn fields(&self, width: usize) -> Vec<Field> {
        if self.0.is_empty() {
            return vec![Field::numbers("x", &[width])];
        }
        let field = |(name, input): &(String, TableInput)| match *input {
            TableInput::Encoded => Field::numbers(name, &[width]),
            TableInput::Words(ids) => Field::ids(name, ids.length),
        };
        self.0.iter().map(field).collect()
    }

    /// Appends the ids of the words of an event's column to `ids`; returns how many were cut off.
    ///
    /// # Errors
    /// If the event has no such column.
    pub fn ids(
        event: Event<'_>,
        schema: &Schema,
        (column, how): (&str, TextIds),
        ids: &mut Vec<i32>,
    ) -> Result<usize, BadEvent> {
        let Some(index) = schema.columns.iter().position(|c| c == column) else {
            return Err(BadEvent::fatal(format!(
                "there is no column `{column}`, which the model's input of that name reads"
            )));
        };
        let number;
        let text = match event.value(index) {
            Value::Text(text) => text,
            Value::Number(n) => {
                number = n.to_string();
                &number
            }
            Value::Missing => "",
        };
        Ok(how.append(text, ids))
    }

    /// Fills all inputs of a row with an event; the encoder learns from it.
    ///
    /// # Errors
    /// If the event is bad; says why.
    pub fn encode(
        &self,
        encoder: &mut Encoder,
        schema: Option<&Schema>,
        event: Event<'_>,
        row: &mut Row<'_>,
    ) -> Result<(), BadEvent> {
        let wrong = |e: tidemill_fields::FieldError| BadEvent::fatal(e.to_string());
        let numbers: &mut [f32] = match self.encoded() {
            Some(field) => row.f32(field).map_err(wrong)?,
            None => &mut [],
        };
        encoder.encode(event, numbers)?;
        if self.0.is_empty() {
            return Ok(());
        }
        let schema = schema.ok_or_else(|| BadEvent::fatal("its columns are not known"))?;
        let mut ids = Vec::new();
        for (field, column, how) in self.words() {
            ids.clear();
            Self::ids(event, schema, (column, how), &mut ids)?;
            row.set_ids(field, &ids).map_err(wrong)?;
        }
        Ok(())
    }
}
