//! Normalisation, dropout and embedding.

use super::{Call, Shape};

impl Call<'_> {
    /// `(x[..., c], moments[2, c], gamma[c], beta[c])`
    pub(super) fn batch_norm(&self) -> Shape {
        let c = self.channels(0)?;
        self.expect(1, "moments", &[2, c])?;
        self.expect(2, "gamma", &[c])?;
        self.expect(3, "beta", &[c])?;
        Ok(self.dims(0).to_vec())
    }

    /// `(x, moments, gamma, dy)`
    pub(super) fn batch_norm_grad_input(&self) -> Shape {
        let c = self.channels(0)?;
        self.expect(1, "moments", &[2, c])?;
        self.expect(2, "gamma", &[c])?;
        self.expect(3, "dy", self.dims(0))?;
        Ok(self.dims(0).to_vec())
    }

    /// `(x, moments, dy)`
    pub(super) fn batch_norm_grad_gamma(&self) -> Shape {
        let c = self.channels(0)?;
        self.expect(1, "moments", &[2, c])?;
        self.expect(2, "dy", self.dims(0))?;
        Ok(vec![c])
    }

    /// `(running[2, c], moments[2, c])`
    pub(super) fn update_moments(&self) -> Shape {
        let c = self.channels(0)?;
        self.expect(0, "running moments", &[2, c])?;
        self.expect(1, "moments", &[2, c])?;
        Ok(vec![2, c])
    }

    /// `(x[..., c], gamma[c], ...)` with so many vectors of c.
    pub(super) fn norm(&self, vectors: usize) -> Shape {
        let c = self.channels(0)?;
        for (index, name) in ["gamma", "beta"].iter().enumerate().take(vectors) {
            self.expect(index + 1, name, &[c])?;
        }
        Ok(self.dims(0).to_vec())
    }

    /// `(x, gamma, dy)`
    pub(super) fn norm_grad_input(&self) -> Shape {
        self.expect(1, "gamma", &[self.channels(0)?])?;
        self.expect(2, "dy", self.dims(0))?;
        Ok(self.dims(0).to_vec())
    }

    /// `(x, dy)`
    pub(super) fn norm_grad_gamma(&self) -> Shape {
        let c = self.channels(0)?;
        self.same(&["x", "dy"])?;
        Ok(vec![c])
    }

    /// `(x, key[4])`
    pub(super) fn dropout(&self) -> Shape {
        self.expect(1, "a key", &[4])?;
        Ok(self.dims(0).to_vec())
    }

    /// `(table[v, d], ids[...])`
    pub(super) fn embedding(&self) -> Shape {
        let [_, width] = self.rank(0, "a table", "rows, width")?;
        Ok([self.dims(1), &[width]].concat())
    }

    pub(super) fn embedding_bag(&self) -> Shape {
        let [_, width] = self.rank(0, "a table", "rows, width")?;
        let [bags, _] = self.rank(1, "the ids", "bags, tokens")?;
        Ok(vec![bags, width])
    }

    pub(super) fn embedding_bag_grad(&self, rows: usize) -> Shape {
        let [bags, _] = self.rank(0, "the ids", "bags, tokens")?;
        match *self.dims(1) {
            [n, width] if n == bags => Ok(vec![rows, width]),
            _ => Err(self.error(format!(
                "expected dy to have a row for each of {bags} bags, found {:?}",
                self.dims(1)
            ))),
        }
    }

    /// `(ids[...], dy[..., d])`
    pub(super) fn embedding_grad(&self, rows: usize) -> Shape {
        let (ids, dy) = (self.dims(0), self.dims(1));
        match dy.split_last() {
            Some((&width, leading)) if leading == ids => Ok(vec![rows, width]),
            _ => Err(self.error(format!(
                "expected dy to be the ids' shape and one dim more, found ids {ids:?} and dy {dy:?}"
            ))),
        }
    }
}
