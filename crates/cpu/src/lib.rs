//! A plan's kernels on CPUs, and the thread pool.
