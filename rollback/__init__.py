"""Acts: bundles, signatures, registries, policy, executor, audit and training."""
