//! What classes are called, by the outputs that they have taken.

use super::{Classes, Labels, Sets, in_order};

impl Labels {
    /// The class of two that binary figures are about: the second one where the order was given, else
    /// the one whose name comes later (1 after 0, 2 after 1, `yes` after `no`), whichever was seen
    /// first. None where there are not two.
    pub fn positive(&self) -> Option<usize> {
        match self {
            Labels::Binary => Some(1),
            Labels::Classes(classes) if classes.names.len() == 2 => {
                match (classes.given, &classes.names[..]) {
                    (false, [Some(a), Some(b)]) => {
                        let ordered = in_order([a.clone(), b.clone()]);
                        Some(usize::from(ordered[1] == *b))
                    }
                    _ => Some(1),
                }
            }
            _ => None,
        }
    }

    /// The name of that class.
    pub fn positive_name(&self) -> Option<String> {
        self.names().get(self.positive()?).cloned()
    }

    /// Names of the classes by output; empty for targets, and for classes of which none is known. An
    /// output that no label has taken has its number, or no name where that is the name of another.
    pub fn names(&self) -> Vec<String> {
        match self {
            Labels::Classes(classes) | Labels::Sets(Sets { classes, .. }) => classes.names(),
            Labels::Binary => vec!["0".to_owned(), "1".to_owned()],
            Labels::Values(_) => Vec::new(),
        }
    }

    /// The class of an output; none where no label has taken it.
    pub fn class_name(&self, class: usize) -> Option<String> {
        match self {
            Labels::Classes(classes) | Labels::Sets(Sets { classes, .. }) => {
                classes.names.get(class).cloned().flatten()
            }
            Labels::Binary if class < 2 => Some(class.to_string()),
            Labels::Binary | Labels::Values(_) => None,
        }
    }

    /// The class of an output as predictions call it: by the labels that came, or else as `names` have it; none where no label
    /// has taken it. Of datasets whose classes have no names it is its number.
    pub fn class_of(labels: Option<&Labels>, class: usize, names: &[String]) -> Option<String> {
        match (labels, names) {
            (Some(labels), _) => labels.class_name(class),
            (None, []) => Some(class.to_string()),
            (None, names) => names.get(class).cloned(),
        }
    }

    /// How many outputs labels have taken; none where labels are no classes.
    pub fn num_taken(&self) -> usize {
        self.known().map_or(0, |classes| classes.names.len() - classes.num_free())
    }
}

impl Classes {
    /// Names of the outputs up to the last that a label has taken.
    fn names(&self) -> Vec<String> {
        let last = self.names.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        (0..last).filter_map(|class| self.name(class)).collect()
    }

    /// What people are shown of an output.
    fn name(&self, class: usize) -> Option<String> {
        match self.names.get(class)? {
            Some(name) => Some(name.clone()),
            None if self.index.contains_key(&class.to_string()) => Some(String::new()),
            None => Some(class.to_string()),
        }
    }
}
