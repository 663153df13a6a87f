"""Text in, tokens out: sources, file formats, tokenizers."""
