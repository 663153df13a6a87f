"""example.py of an exported folder answers as `predict` does."""

import functools
import random

import pytest

from electra_jax.exporting.export import export
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.tasks import tag_schemes
from electra_jax.tasks.examples import QuestionExample
from tests.exporting.workdirs import finetuned


def examples_of(model, name, text):
  return parse_inputs(model.task(name), [text])


@pytest.fixture(scope="module", name="exported")
def exported_tasks(tmp_path_factory):
  """Opens the example of an exported run of one task, and the run."""
  pytest.importorskip("onnxruntime")
  pytest.importorskip("onnx")

  @functools.cache
  def opened(name):
    folder = tmp_path_factory.mktemp(name)
    # Short rows, so that the texts below are longer than one.
    run = finetuned(
        folder / "run",
        name,
        **{
            "data.max_length": 24,
            "data.max_query_length": 8,
            "data.doc_stride": 7,
        },
    )
    export(run, folder / "out", to="onnx")
    source = (folder / "out/example.py").read_text()
    space = {"__name__": "example", "__file__": str(folder / "out/example.py")}
    exec(compile(source, "example.py", "exec"), space)
    return FinetunedModel(run), space

  return opened


CONTEXT = "Anna Miller saw the old, red house near Paris with a cat."
LONG = " ".join([CONTEXT] * 4)


@pytest.mark.parametrize("text", [CONTEXT, LONG], ids=["short", "long"])
def test_the_example_tags_as_predict_does(exported, text):
  model, example = exported("ner")
  words = example["split"](text)
  examples = examples_of(model, "ner", text)
  assert words == list(examples[0].words)
  (record,) = model.predict(examples).records
  found = example["answer"](words)["ner"]
  assert found == {"words": words, "tags": record["tags"]}


def test_the_example_writes_tags_in_the_scheme_of_the_data(exported):
  _, example = exported("ner")
  rng = random.Random(0)
  names = ["O", "O", *(f"{x}-{y}" for x in "BIES" for y in "PQ"), "B", "I"]
  for scheme in tag_schemes.SCHEMES:
    letters = list(tag_schemes.SCHEMES[scheme])
    for _ in range(50):
      tags = rng.choices(names, k=8)
      expected = list(tag_schemes.convert_tags(tags, scheme))
      assert example["in_scheme"](tags, letters) == expected, (scheme, tags)


@pytest.mark.parametrize(
    ("first", "second"),
    [("the house", "the road"), (LONG, LONG), (LONG, "a cat"), ("a", LONG)],
)
def test_the_example_rates_a_pair_as_predict_does(exported, first, second):
  model, example = exported("sts")
  examples = examples_of(model, "sts", f"{first}\t{second}")
  (value,) = model.predict(examples).values
  found = example["answer"](first, second)["sts"]
  assert found["rating"] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("question", "context"),
    [
        ("who saw the house", CONTEXT),
        ("who saw the house", LONG),
        (LONG, LONG),  # A question that is cut.
    ],
)
def test_the_example_finds_the_span_that_predict_does(
    exported, question, context
):
  model, example = exported("squad")
  asked = QuestionExample("0", question, context, (), has_gold=False)
  (record,) = model.predict([asked]).records
  found = example["answer"](question, context)["squad"]
  assert found == {
      **{name: record[name] for name in ("answer", "text", "start", "end")},
      "null_odds": pytest.approx(record["null_odds"], abs=1e-5),
  }
  for threshold, answer in ((1e9, record["text"]), (-1e9, "")):
    example["TASKS"][0]["null_threshold"] = threshold
    found = example["answer"](question, context)["squad"]
    assert found["answer"] == answer
