//! Cross-entropies.

use super::{Call, Shape};

impl Call<'_> {
    /// `(logits[..., c], labels[...])`
    pub(super) fn sparse_loss(&self) -> Shape {
        let classes = self.channels(0)?;
        let (logits, labels) = (self.dims(0), self.dims(1));
        let leading = &logits[..logits.len() - 1];
        if labels == leading {
            return Ok(leading.to_vec());
        }
        let error = self.error(format!(
            "expected labels of shape {leading:?} for logits of shape {logits:?}, found shape \
             {labels:?}"
        ));
        Err(if labels == logits {
            error.help("these look like one-hot labels: use categorical_crossentropy")
        } else if labels.split_last() == Some((&1, leading)) {
            error.help(format!("reshape the labels to {leading:?}"))
        } else if logits.len() > labels.len() + 1 {
            error.help(format!(
                "the logits have one dim of {classes} classes too many dims in front: add flatten \
                 or global pooling before the last dense layer"
            ))
        } else {
            error
        })
    }

    /// `(logits[..., c], targets[..., c])`
    pub(super) fn dense_loss(&self) -> Shape {
        self.channels(0)?;
        let (logits, targets) = (self.dims(0), self.dims(1));
        let leading = &logits[..logits.len() - 1];
        if targets == logits {
            return Ok(leading.to_vec());
        }
        let error = self.error(format!(
            "expected targets of the logits' shape {logits:?}, found shape {targets:?}"
        ));
        Err(if targets == leading {
            error.help("class numbers are for sparse_categorical_crossentropy")
        } else {
            error
        })
    }

    /// `(logits, targets, dloss)`, where the loss has the shape that `forward` says.
    pub(super) fn loss_grad(&self, forward: impl Fn(&Self) -> Shape) -> Shape {
        let loss = forward(self)?;
        self.expect(2, "the gradient of the loss", &loss)?;
        Ok(self.dims(0).to_vec())
    }
}
