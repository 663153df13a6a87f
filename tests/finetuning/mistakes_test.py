"""Mistakes in fine-tuning: one sentence each, and nothing written."""

import dataclasses

import pytest

from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.task_data import find_tasks
from tests import helpers


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task": "glue"}, "'glue' is unknown; choose one of"),
        ({"data.folder": ""}, "no folder with the data of .sst. is given"),
        ({"data.folder": "/nowhere"}, "/nowhere"),
        ({"data.source": "web"}, "'web'; it must be 'files' or 'tfds'"),
        ({"random_init": False}, "init_from is empty; give the --workdir"),
        ({"data.tokenizer": ""}, "both empty; random weights need one"),
        ({"init_from": "/nowhere"}, "/nowhere is not a workdir"),
        ({"data.max_length": 1024}, "1024 exceeds the 512 positions"),
        ({"train.batch_size": 12}, "12 does not divide over the 8"),
        ({"train.accumulation_steps": 3}, "does not divide into"),
        ({"train.loss_reduction": "max"}, "'max'; it must be 'mean'"),
        ({"seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"train.batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"data.max_length": 2}, "max_length is 2; it must be at least 3"),
        ({"questions.beam_size": 0}, "beam_size is 0; it must be at least"),
        ({"mesh.tensor": 2, "mesh.data": 4}, "heads 1 does not divide over"),
        ({"data.folder": "gs://bucket/glue"}, "must lie on a local disk"),
        ({"train.num_epochs": 0.0}, "num_epochs is 0.0; it must be above"),
        ({"mesh.data": 3}, "there are 8"),
    ],
)
def test_mistakes_leave_nothing_behind(
    tmp_path, synthetic_task, overrides, message
):
  overrides = {**synthetic_task, **overrides}
  task = overrides.pop("task", "sst")
  with pytest.raises(UserError, match=message):
    config = helpers.finetune_config(task, **overrides)
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def write_table(folder, train="text,label\nfine,yes\nbad,no\n", dev=None):
  folder.mkdir()
  (folder / "train.csv").write_text(train)
  (folder / "dev.csv").write_text(train if dev is None else dev)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"dev": "text,label\nfine,maybe\n"},
            "'maybe', which is none of no, yes",
        ),
        ({"train": "words,label\nfine,yes\n"}, r"train.csv.*words"),
        ({"train": ""}, r"train.csv"),
        ({"dev": "text,label\n"}, r"dev.csv"),
        ({"train": "text,label\nfine,yes\n"}, "no labels but"),
    ],
)
def test_mistakes_of_a_table_are_named(
    tmp_path, synthetic_task, tables, message
):
  write_table(tmp_path / "table", **tables)
  overrides = {**synthetic_task, "data.folder": str(tmp_path / "table")}
  config = helpers.finetune_config("table", **overrides)
  with pytest.raises(UserError, match=message):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("sst", "{broken", "line 1 begins as a JSON object"),
        ("sst", '{"words": []}', "line 1 has no text"),
        ("ner", "   ", "line 1 has no words to tag"),
        ("ner", "\u200b", "line 1 has no words to tag"),
        ("ner", '{"words": 5}', "line 1 has no words to tag"),
        ("ner", '{"words": "hello"}', "line 1 has no words to tag"),
        ("ner", '{"text": null}', "line 1 has no words to tag"),
        ("sst", '{"text": 5}', "line 1 has 5 under 'text'"),
        ("sst", "one\ttwo", "line 1 is a pair and sst takes one text"),
        ("rte", "one", "line 1 is one text and rte takes a pair"),
        ("squad", "a context", "line 1 needs a question and a context"),
    ],
)
def test_mistakes_in_what_is_asked_are_named(kind, line, message):
  (task,) = find_tasks(helpers.finetune_config(kind))
  task = dataclasses.replace(task, takes_pairs=kind == "rte")
  with pytest.raises(UserError, match=message):
    parse_inputs(task, [line])


def test_a_question_can_be_asked_of_json_and_of_questions_only():
  (squad,) = find_tasks(helpers.finetune_config("squad"))
  line = '{"id": 3, "context": "a cat"}'
  (example,) = parse_inputs(squad, [line], question="who ?")
  assert example[:3] == ("3", "who ?", "a cat")
  (sst,) = find_tasks(helpers.finetune_config("sst"))
  with pytest.raises(UserError, match=r"--question 'who .' has no meaning"):
    parse_inputs(sst, ["a cat"], question="who ?")


def test_a_text_to_tag_is_split_as_the_data_is():
  (ner,) = find_tasks(helpers.finetune_config("ner"))
  line = "नई दिल्ली: 小明"
  (example,) = parse_inputs(ner, [line])
  assert example.words == ("नई", "दिल्ली", ":", "小明")
  assert example.text == line
  ner = dataclasses.replace(ner, word_unit="character")
  assert parse_inputs(ner, [line])[0].words[-2:] == ("小", "明")
  given = parse_inputs(ner, ['{"words": ["New York", "小明"]}'])[0]
  assert given.words == ("New York", "小明") and given.text is None
