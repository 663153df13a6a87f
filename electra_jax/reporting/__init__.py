"""One page of a run, or of several: curves, samples, config, environment."""
