"""What a user types as examples: JSON or plain, and one sentence for mistakes."""

import pytest

from electra_jax.errors import UserError
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.task import Task


def task_of(kind, **options):
  return Task("t", kind, ("accuracy",), lambda *_: [], ("a", "b"), **options)


TEXTS = task_of("classification")


def test_a_line_keeps_its_number():
  lines = ["x", '{"text": "y", "id": 7}', '{"text": "z"}']
  assert parse_inputs(TEXTS, lines, indices=[0, 3, 8]) == [
      TextExample("0", "x", None, None),
      TextExample("7", "y", None, None),
      TextExample("8", "z", None, None),
  ]


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("classification", '{"text": "\\ud800"}', r"'\\ud800' under 'text', half"),
        ("classification", '{"text": "a", "id": "\\udfff"}', "under 'id', half"),
        ("tagging", '{"words": ["a", "\\ud800"]}', "under 'words', half"),
        ("questions", '{"question": "\\ud800", "context": "a"}', "'question', half"),
        ("classification", '{"text":' + "[" * 100_000, "nested too deeply"),
        ("classification", '{"text":' + '{"a":' * 100_000, "nested too deeply"),
        ("classification", '{"txt": "a"}', "no text but 'txt'"),
        ("classification", '{"text": NaN}', "nan under 'text'"),
        ("classification", '{"text": ["a"]}', r"\['a'\] under 'text'"),
        ("classification", '{"text": "a"', "is none"),
        ("tagging", '{"words": "a b"}', "no words to tag"),
    ],
)  # fmt: skip
def test_odd_json_ends_with_one_sentence(kind, line, message):
  with pytest.raises(UserError, match=message) as caught:
    parse_inputs(task_of(kind), [line], indices=[4])
  assert str(caught.value).startswith("line 5 ")
  assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_whole_surrogate_pair_is_a_character():
  (example,) = parse_inputs(TEXTS, ['{"text": "\\ud83d\\ude00"}'])
  assert example.text == "\U0001f600"
