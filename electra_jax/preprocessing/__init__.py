"""Documents to rows of token ids: the verb `prepare`."""
