"""Examples as a reader gives them: text and labels, before any token.

A label, a tag list or an answer that the file does not tell (a test split, a
user's question) is None.
"""

from typing import NamedTuple


class TextExample(NamedTuple):
  """One text or a pair, to classify or to rate.

  Attributes:
    id: the file's own identifier, or the row number from 0 as text.
    text: the text, or the first of a pair.
    other_text: the second of a pair, or None.
    label: a class; for several classes at once a tuple of them; for
      regression a number on the scale of the data.
  """

  id: str
  text: str
  other_text: str | None
  label: str | tuple[str, ...] | float | None


class TaggedExample(NamedTuple):
  """One sentence, a tag for each word.

  Attributes:
    id: sentence number from 0 as text.
    words: as in the file.
    tags: one for each word, as in the file.
    text: what the words were taken from, where it was typed.
  """

  id: str
  words: tuple[str, ...]
  tags: tuple[str, ...] | None
  text: str | None = None


class Answer(NamedTuple):
  """A span of a context.

  Attributes:
    text: as the data tells it.
    start: character offset in the context.
  """

  text: str
  start: int


class QuestionExample(NamedTuple):
  """A question about a context.

  Attributes:
    id: as the data tells it, a text or a whole number.
    question: as in the file.
    context: as in the file.
    answers: the gold answers in the file's order; empty where there is none.
    is_impossible: whether the context holds no answer.
    has_gold: whether the file tells answers at all.
  """

  id: str | int
  question: str
  context: str
  answers: tuple[Answer, ...]
  is_impossible: bool = False
  has_gold: bool = True


class PairExample(NamedTuple):
  """A text to embed, and what its vector is to be near to and far from.

  Attributes:
    id: the file's own identifier, or the row number from 0 as text.
    text: the text.
    other_text: what belongs to it, or None.
    negative: what looks like that and does not belong to it, or None.
    label: how much alike text and other_text are, on the scale of the data, or
      None.
  """

  id: str
  text: str
  other_text: str | None
  negative: str | None
  label: float | None


class GenerationExample(NamedTuple):
  """A text, and the text that is to be written of it.

  Attributes:
    id: the file's own identifier, or the row number from 0 as text.
    text: what is read: the source; of an answer, the question.
    other_text: what is read behind it, such as a question's context, or None.
    target: what is to be written.
    more_targets: what is right as well; training looks at `target` alone.
  """

  id: str
  text: str
  other_text: str | None
  target: str | None
  more_targets: tuple[str, ...] = ()


Example = (
    PairExample
    | TextExample
    | TaggedExample
    | QuestionExample
    | GenerationExample
)
