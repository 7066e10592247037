//! The weights for readers, whole at any time. (Below.)
