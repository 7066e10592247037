//! A run's model that writes what sounds say: asked about streams of samples.
