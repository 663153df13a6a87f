"""Sweeps: one config, many points, trials that run by themselves, one plot."""
