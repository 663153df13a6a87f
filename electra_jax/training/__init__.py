"""The mechanism of training; takes callables, knows no model."""
