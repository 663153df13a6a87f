"""Time and memory of a config: the verbs `plan` and `benchmark`."""
