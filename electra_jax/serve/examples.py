"""Inputs to click on where nobody knows what to type."""

from typing import Any

from electra_jax.tasks.task import Task

DETECTION = (
    {"text": "The chef cooked the banana in a large pot of boiling music."},
    {"text": "We went to the cinema and saw a film about two old friends."},
    {"text": "She opened the window because the room was to warm for him."},
    {"text": "the film was [MASK] good"},
)
_SENTIMENT = (
    {"text": "A joy from start to end."},
    {"text": "Two hours of my life that nobody will give back to me."},
    {"text": "The plot is thin, but the actors make up for it."},
)
_ENTAILMENT = (
    {"text": "It rains in Paris.", "other_text": "Paris is wet."},
    {"text": "A man plays the guitar.", "other_text": "Nobody makes music."},
)
_PARAPHRASE = (
    {
        "text": "The company hired two hundred people last year.",
        "other_text": "Last year, two hundred people joined the company.",
    },
    {
        "text": "The bridge was closed after the storm.",
        "other_text": "The storm began after the bridge was opened.",
    },
)
_QUESTIONS = (
    {
        "question": "Who wrote the letter?",
        "context": (
            "Anna found the letter on Monday. Her brother Paul had written it"
            " two weeks before, in the train to Vienna."
        ),
    },
    {
        "question": "How long is the bridge?",
        "context": (
            "The old bridge crosses the river in nine arches. It was built in"
            " 1787 and is 310 metres long."
        ),
    },
)
_TAGGING = (
    {"text": "Anna Meier flew from Vienna to New York on Monday."},
    {"text": "The museum in Oslo bought three paintings by Edvard Munch."},
)
_ANSWERABLE = (
    {
        "text": "Who wrote the letter?",
        "other_text": "Her brother had written it in the train.",
    },
)
_TO_SUMMARISE = (
    {
        "text": (
            "The council of the old town has decided to build a new bridge over"
            " the river. Work begins in spring and takes two years. Until then"
            " boats carry people and bicycles across."
        )
    },
)
_BY_TASK = {
    "cola": (
        {"text": "The book was read by the whole class."},
        {"text": "The book was reads from whole the class."},
    ),
    "sst": _SENTIMENT,
    "reviews": _SENTIMENT,
    "mnli": _ENTAILMENT,
    "rte": _ENTAILMENT,
    "wnli": _ENTAILMENT,
    "mrpc": _PARAPHRASE,
    "qqp": _PARAPHRASE,
    "sts": _PARAPHRASE,
    "qnli": _ANSWERABLE,
    "answer": _ANSWERABLE,
    "summarise": _TO_SUMMARISE,
}


def examples_of(task: Task) -> tuple[dict[str, Any], ...]:
  """Returns inputs that a task takes; none where nothing is known of it."""
  if task.kind == "questions":
    return _QUESTIONS
  if task.kind == "tagging":
    return _TAGGING
  found = _BY_TASK.get(task.name, ())
  return tuple(x for x in found if ("other_text" in x) == task.takes_pairs)
