"""Sentences stay short, however long the values of the user's files are."""

from electra_jax.errors import UserError, shown


def test_long_values_are_cut_off():
  told = str(UserError(f"config.task is {'x' * 5_000!r}; choose another"))
  assert told == f"config.task is '{'x' * 199}... choose another"


def test_of_a_long_sentence_beginning_and_fix_are_kept():
  told = str(UserError(f"there is no {'a b ' * 5_000!r}; name another file"))
  assert told.startswith("there is no 'a b a b")
  assert told.endswith("a b '; name another file")
  assert len(told) == 1_000 + len(" ... ") + 300


def test_other_sentences_are_left_alone():
  told = f"there is no folder /{'f' * 255}; name the one that holds the run"
  assert str(UserError(told)) == told


def test_shown():
  assert shown("a", longest=9) == "'a'"
  assert shown("a" * 9, longest=9) == "'aaaaa..."
  assert shown(10**400) == "a number of 1,329 bits"
