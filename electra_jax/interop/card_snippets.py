"""Python that a model card shows: how transformers loads and runs a model."""

from collections.abc import Mapping
from typing import Any

# A line in snippets that only transformers 4 runs.
ONLY_FOUR = "# transformers 4 alone; 5 has no such pipeline."

_CLASSIFY = """
from transformers import pipeline

classify = pipeline("text-classification", model=".")
print(classify({text}, truncation=True, top_k=None))
"""
_CLASSIFY_MODEL = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForSequenceClassification.from_pretrained(".")
inputs = tokenizer({texts}, truncation=True, return_tensors="pt")
with torch.no_grad():
  print(model(**inputs).logits)
"""
_TAG = """
from transformers import pipeline

tag = pipeline("token-classification", model=".", ignore_labels=[])
for piece in tag("Anna Miller lives in Paris ."):
  print(piece["word"], piece["entity"], round(piece["score"], 3))
"""
_TAG_MODEL = """
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForTokenClassification.from_pretrained(".")
inputs = tokenizer(
    "Anna Miller lives in Paris .", truncation=True, return_tensors="pt"
)
with torch.no_grad():
  best = model(**inputs).logits[0].argmax(-1)
print([model.config.id2label[i] for i in best.tolist()])
"""
_ASK = f"""
{ONLY_FOUR}
from transformers import pipeline

ask = pipeline("question-answering", model=".")
print(ask(
    question="Who wrote it?",
    context="It was Anna Miller who wrote it.",
    max_seq_len={{max_length}},
    max_answer_len={{max_answer_length}},
    handle_impossible_answer={{may_lack_answer}},
    align_to_words=False,  # By default the answer grows to whole words.
))
"""
_ASK_MODEL = """
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForQuestionAnswering.from_pretrained(".")
context = "It was Anna Miller who wrote it."
inputs = tokenizer(
    "Who wrote it?",
    context,
    truncation="only_second",
    return_offsets_mapping=True,
    return_tensors="pt",
)
places = inputs.pop("offset_mapping")[0].tolist()
with torch.no_grad():
  output = model(**inputs)
# An answer lies in the context; the first token stands for none.
inside = torch.tensor([part == 1 for part in inputs.sequence_ids(0)])
choice = inside.clone()
choice[0] = True
start, end = (
    logits[0].masked_fill(~choice, -torch.inf).softmax(-1)
    for logits in (output.start_logits, output.end_logits)
)
spans = (start[:, None] * end[None]).triu().tril({max_answer_length} - 1)
spans *= inside[:, None] & inside[None]
first, last = divmod(int(spans.argmax()), len(spans))
print(context[places[first][0] : places[last][1]], float(spans.max()))
print("no answer", float(start[0] * end[0]))
"""
_FILL = """
from transformers import pipeline

fill = pipeline("fill-mask", model=".")
for answer in fill("the film was {mask} good"):
  print(answer["token_str"], round(answer["score"], 3))
"""
_FILL_MODEL = """
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForMaskedLM.from_pretrained(".")
inputs = tokenizer("the film was {mask} good", return_tensors="pt")
with torch.no_grad():
  logits = model(**inputs).logits[0]
masked = inputs["input_ids"][0] == tokenizer.mask_token_id
print(tokenizer.convert_ids_to_tokens(logits[masked][0].topk(5).indices))
"""
_DETECT = """
import torch
from transformers import AutoModelForPreTraining, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForPreTraining.from_pretrained(".")
inputs = tokenizer("the chef cooked the banana", return_tensors="pt")
with torch.no_grad():
  replaced = torch.sigmoid(model(**inputs).logits[0]).tolist()
tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
for token, probability in zip(tokens, replaced):
  print(token, round(probability, 2))
"""
_WRITE = """
from transformers import AutoTokenizer, EncoderDecoderModel

tokenizer = AutoTokenizer.from_pretrained(".")
model = EncoderDecoderModel.from_pretrained(".")
inputs = tokenizer({texts}, truncation=True, return_tensors="pt")
written = model.generate(**inputs)
print(tokenizer.decode(written[0], skip_special_tokens=True))
"""
_ONE = '"It was well worth the wait."'
_PAIR = ('"A man sleeps."', '"Somebody rests."')
_PIPELINE, _CLASS = "With a pipeline:", "With the model's class:"
_SNIPPETS = {
    "ElectraForSequenceClassification": (
        (_PIPELINE, _CLASSIFY),
        (_CLASS, _CLASSIFY_MODEL),
    ),
    "ElectraForTokenClassification": ((_PIPELINE, _TAG), (_CLASS, _TAG_MODEL)),
    "ElectraForQuestionAnswering": ((_PIPELINE, _ASK), (_CLASS, _ASK_MODEL)),
    "ElectraForMaskedLM": ((_PIPELINE, _FILL), (_CLASS, _FILL_MODEL)),
    "ElectraForPreTraining": ((_CLASS, _DETECT),),
    "EncoderDecoderModel": ((_CLASS, _WRITE),),
}


def snippets_of(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    max_answer_length: int,
    *,
    takes_pairs: bool,
    may_lack_answer: bool,
) -> list[tuple[str, str]]:
  """Returns what to say of each snippet, and its code.

  Args:
    config: of config.json.
    settings: of the tokenizer's settings.
    max_answer_length: in pieces.
    takes_pairs: whether texts are pairs.
    may_lack_answer: whether a question may have no answer.
  """
  values = {
      "{mask}": settings["mask_token"],
      "{max_length}": settings["model_max_length"],
      "{max_answer_length}": max_answer_length,
      "{may_lack_answer}": may_lack_answer,
      "{text}": _ONE,
      "{texts}": _ONE,
  }
  if takes_pairs:
    first, second = _PAIR
    values["{text}"] = f'{{"text": {first}, "text_pair": {second}}}'
    values["{texts}"] = ", ".join(_PAIR)
  found = []
  for about, code in _SNIPPETS[config["architectures"][0]]:
    for place, value in values.items():
      code = code.replace(place, str(value))
    found.append((about, code))
  return found
