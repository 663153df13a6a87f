"""Answers to files of any number of lines, in one file, resumable."""
