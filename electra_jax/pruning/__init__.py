"""The verb `prune`: which heads and columns count, and a run without the rest."""
