"""Texts to vectors: one model of them for every kind of run."""
