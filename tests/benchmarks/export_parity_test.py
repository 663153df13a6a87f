"""What the comparison of exported models counts, and of what texts."""

import json

import pytest

from tests.benchmarks import export_parity, export_sets


@pytest.mark.parametrize(
    ("task", "own", "found", "texts", "answers", "differing"),
    [
        (
            {"kind": "tagging"},
            [{"words": ["a", "b"], "tags": ["X", "Y"]}] * 2,
            [
                {"words": ["a", "b"], "tags": ["X", "Y"]},
                {"words": ["a", "b"], "tags": ["Y", "X"]},
            ],
            1,
            4,
            2,
        ),
        (
            {"kind": "tagging"},
            [{"words": ["a", "b"], "tags": ["X", "Y"]}],
            [{"words": ["a b"], "tags": ["X"]}],
            1,
            1,
            1,
        ),
        (
            {"kind": "questions"},
            [{"answer": "a", "start": 3, "end": 4, "text": "a"}],
            [{"answer": "a", "start": 7, "end": 8, "text": "a"}],
            1,
            1,
            1,
        ),
        (
            {"kind": "regression", "label_range": [0, 10]},
            [{"rating": 5.0}, {"rating": 5.0}],
            [{"rating": 5.05}, {"rating": 5.2}],
            1,
            2,
            1,
        ),
        (
            {"kind": "multilabel"},
            [{"labels": ["a", "b"]}],
            [{"labels": ["a"]}],
            1,
            1,
            1,
        ),
        (
            {"kind": "classification"},
            [{"label": "a", "probability": 0.9}],
            [{"label": "a", "probability": 0.8}],
            0,
            1,
            0,
        ),
    ],
)
def test_answers_are_counted(task, own, found, texts, answers, differing):
  assert export_parity.compare(task, own, found) == {
      "texts": len(own),
      "differing_texts": texts,
      "answers": answers,
      "differing_answers": differing,
  }


def test_questions_ask_for_years_and_some_have_no_answer(tmp_path):
  article = (
      "Town {n}\nTown {n} lies far off. It was founded in 17{n} by a king."
  )
  articles = [article.format(n=n) for n in range(10, 99)]
  (tmp_path / "wiki_leads.txt").write_text("\n\n".join(articles))
  export_sets.write_set("lead_years", tmp_path, tmp_path / "out")
  contexts = []
  for split in export_sets.SPLITS:
    lines = (tmp_path / f"out/{split}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    contexts.append({row["context"] for row in rows})
    answers = [row["answers"] for row in rows]
    assert 0 < sum(not a["text"] for a in answers) <= len(answers) // 5
    for row in rows:
      for text, start in zip(*row["answers"].values(), strict=True):
        assert row["context"][start:].startswith(text)
        assert text not in row["question"]
  train, dev, test = contexts
  assert not train & dev and not train & test and not dev & test
  asked = (tmp_path / "out/texts.jsonl").read_text().splitlines()
  assert {json.loads(line)["context"] for line in asked} == test | dev
