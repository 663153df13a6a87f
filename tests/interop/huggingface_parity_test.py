"""Our networks and transformers' on the same weights, both directions.

Needs torch and transformers, which the package does not: run it where they
are installed.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.interop import huggingface
from electra_jax.interop import model as states
from electra_jax.interop.huggingface_tokenizer import write_tokenizer
from electra_jax.interop.huggingface_vocabulary import read_tokenizer
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from tests import helpers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.golden, pytest.mark.slow]

VOCAB_SIZE = 1966
VOCABULARY = helpers.GOLDEN / "vocab.txt"
SHAPES = {
    "projected": {"embedding_size": 32},
    "equal": {"embedding_size": 64},
    "narrow heads": {"embedding_size": 64, "num_attention_heads": 4},
}


def their_config(class_name: str, **shapes):
  return getattr(transformers, class_name)(
      **{
          "vocab_size": VOCAB_SIZE,
          "hidden_size": 64,
          "num_hidden_layers": 2,
          "num_attention_heads": 1,
          "intermediate_size": 256,
          "max_position_embeddings": 64,
          "attn_implementation": "eager",
          **shapes,
      }
  )


def randomise(model):
  """Moves every weight and bias away from where it starts."""
  torch.manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(0.1 * torch.randn_like(parameter))
  return model.eval()


def rows():
  """Two rows of two segments, one of them padded."""
  ids = np.random.default_rng(0).integers(5, VOCAB_SIZE, (2, 24))
  mask = np.ones((2, 24), np.int32)
  mask[1, 17:] = 0
  segments = (np.arange(24)[None] > np.array([[9], [5]])).astype(np.int32)
  return (ids * mask).astype(np.int32), mask, segments * mask


def their_output(model):
  ids, mask, segments = (torch.from_numpy(x).long() for x in rows())
  with torch.no_grad():
    return model(input_ids=ids, attention_mask=mask, token_type_ids=segments)


def our_logits(config, params, *, generator: bool):
  ids, mask, segments = (jnp.asarray(x) for x in rows())
  model = Electra(config)
  if not generator:
    return model.apply(
        {"params": params}, ids, mask, segments, method="replaced_token_logits"
    )
  positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
  return model.apply(
      {"params": params},
      *(ids, mask, segments, positions),
      method="masked_lm_logits",
  )


def assert_close(ours, theirs, mask=None):
  ours, theirs = np.asarray(ours), theirs.numpy()
  assert np.std(theirs) > 0.05  # Else any logits would do.
  if mask is not None:
    ours, theirs = ours[mask], theirs[mask]
  np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def read(folder):
  model = huggingface.read_model(folder, seed=0)
  return model._replace(params=jax.tree.map(jnp.asarray, model.params))


def networks(embedding_size, sharing):
  encoder = encoder_config(
      VOCAB_SIZE, 2, 128, embedding_size, max_position_embeddings=64
  )
  generator = generator_config(encoder, 0.5, own_embeddings=sharing == "none")
  return ElectraConfig(
      encoder, None if sharing == "all" else generator, sharing
  )


def random_params(config):
  """Parameters of ours that are nowhere near their start."""
  params = states.init_params(config, 0)
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params
  )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["ForPreTraining", "ForMaskedLM"])
def test_one_of_their_networks_gives_their_logits(shape, name, tmp_path):
  config = their_config("ElectraConfig", **SHAPES[shape])
  theirs = randomise(getattr(transformers, f"Electra{name}")(config))
  theirs.save_pretrained(tmp_path)
  model = read(tmp_path)
  logits = our_logits(
      model.config, model.params, generator=name == "ForMaskedLM"
  )
  assert_close(logits, their_output(theirs).logits)


def test_both_of_their_networks_share_what_they_share(tmp_path):
  discriminator = randomise(
      transformers.ElectraForPreTraining(
          their_config("ElectraConfig", embedding_size=32, hidden_size=128,
                       num_attention_heads=2, intermediate_size=512)
      )
  )  # fmt: skip
  generator = randomise(
      transformers.ElectraForMaskedLM(
          their_config("ElectraConfig", embedding_size=32)
      )
  )
  generator.electra.embeddings.load_state_dict(
      discriminator.electra.embeddings.state_dict()
  )
  discriminator.save_pretrained(tmp_path / "discriminator")
  generator.save_pretrained(tmp_path / "generator")
  model = read(tmp_path)
  assert model.config.embedding_sharing == "embeddings"
  for is_generator, theirs in ((False, discriminator), (True, generator)):
    logits = our_logits(model.config, model.params, generator=is_generator)
    assert_close(logits, their_output(theirs).logits)


@pytest.mark.parametrize(
    "sharing", ["embeddings", "none", "all", "gradient_disentangled"]
)
@pytest.mark.parametrize("embedding_size", [32, 128])
def test_our_networks_give_our_logits_there(sharing, embedding_size, tmp_path):
  config = networks(embedding_size, sharing)
  params = random_params(config)
  huggingface.write_model(tmp_path, config, params, pad_id=0)
  for name, class_name in (
      ("discriminator", "AutoModelForPreTraining"),
      ("generator", "AutoModelForMaskedLM"),
  ):
    opened, told = getattr(transformers, class_name).from_pretrained(
        tmp_path / name, output_loading_info=True
    )
    assert not any(told.values()), told
    logits = our_logits(config, params, generator=name == "generator")
    assert_close(logits, their_output(opened.eval()).logits)
  again = read(tmp_path)
  assert again.config.embedding_sharing == sharing
  # Differences of sums have lost their last bits.
  atol = 1e-6 if sharing == "gradient_disentangled" else 0
  for x, y in zip(
      jax.tree.leaves(again.params), jax.tree.leaves(params), strict=True
  ):
    np.testing.assert_allclose(x, y, rtol=0, atol=atol)


def test_a_discriminator_that_fills_in_gives_its_logits_there(tmp_path):
  config = dataclasses.replace(
      networks(32, "gradient_disentangled"),
      has_discriminator_head=False,
      has_token_head=True,
  )
  params = random_params(config)
  huggingface.write_model(tmp_path, config, params, pad_id=0)
  opened, told = transformers.AutoModelForMaskedLM.from_pretrained(
      tmp_path / "discriminator", output_loading_info=True
  )
  assert not any(told.values()), told
  ids, mask, segments = (jnp.asarray(x) for x in rows())
  variables = {"params": params}
  states = Electra(config).apply(
      variables, ids, mask, segments, method="discriminate"
  )
  positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
  logits = Electra(config).apply(
      variables, states.sequence, positions, method="token_logits"
  )
  assert_close(logits, their_output(opened.eval()).logits)


@pytest.mark.parametrize("heads", [1, 4])
def test_their_bert_fills_in_as_ours(heads, tmp_path):
  config = their_config("BertConfig", num_attention_heads=heads)
  theirs = randomise(transformers.BertForPreTraining(config))
  theirs.save_pretrained(tmp_path)
  model = read(tmp_path)
  assert model.fresh == ()
  logits = our_logits(model.config, model.params, generator=True)
  assert_close(logits, their_output(theirs).prediction_logits)


def test_their_bare_bert_has_our_states(tmp_path):
  config = their_config("BertConfig", num_attention_heads=4)
  theirs = randomise(transformers.BertModel(config))
  theirs.save_pretrained(tmp_path)
  model = read(tmp_path)
  assert model.fresh == ("generator_head",)
  assert_close(our_states(model), their_output(theirs).last_hidden_state)


def our_states(model):
  ids, mask, segments = map(jnp.asarray, rows())
  return (
      Electra(model.config)
      .apply(
          {"params": model.params}, ids, mask, segments, method="discriminate"
      )
      .sequence
  )


def test_weights_that_torch_wrote_are_read(tmp_path):
  config = their_config("ElectraConfig", embedding_size=32)
  theirs = randomise(transformers.ElectraForMaskedLM(config))
  config.save_pretrained(tmp_path)
  torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
  model = read(tmp_path)
  logits = our_logits(model.config, model.params, generator=True)
  assert_close(logits, their_output(theirs).logits)
  whole = (tmp_path / "pytorch_model.bin").read_bytes()
  for broken in (whole[:-99], b"", b"no pickle at all"):
    (tmp_path / "pytorch_model.bin").write_bytes(broken)
    with pytest.raises(UserError, match=r"pytorch_model.bin is damaged"):
      read(tmp_path)


def test_their_shards_are_read(tmp_path):
  config = their_config("ElectraConfig", embedding_size=32)
  theirs = randomise(transformers.ElectraForPreTraining(config))
  theirs.save_pretrained(tmp_path, max_shard_size="100KB")
  assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
  model = read(tmp_path)
  logits = our_logits(model.config, model.params, generator=False)
  assert_close(logits, their_output(theirs).logits)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("ForSequenceClassification", "classifier"),
        ("ForTokenClassification", "classifier"),
        ("ForQuestionAnswering", "qa_outputs"),
        ("ForMultipleChoice", "classifier, sequence_summary"),
    ],
)
def test_their_fine_tuned_models_are_a_start(name, head, tmp_path):
  config = their_config("ElectraConfig", embedding_size=32)
  theirs = randomise(getattr(transformers, f"Electra{name}")(config))
  theirs.save_pretrained(tmp_path)
  model = read(tmp_path)
  assert ", ".join(model.left_out) == head
  assert model.fresh == ("discriminator_head",)
  states = their_output(theirs.electra).last_hidden_state
  assert_close(our_states(model), states)


def test_their_tokenizer_gives_the_released_ids(tmp_path):
  cases = helpers.read_json(helpers.GOLDEN / "tokenization.json")["cases"]
  names = ("[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]")
  for name, lowercase, strip_accents in (
      ("lower_strip", True, True),
      ("lower_keep_accents", True, False),
      ("cased_keep_accents", False, False),
  ):
    own = load_tokenizer(
        VOCABULARY, lowercase=lowercase, strip_accents=strip_accents
    )
    folder = tmp_path / name
    folder.mkdir()
    write_tokenizer(folder, own, 64)
    (folder / "config.json").write_text('{"model_type": "electra"}')
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]
    assert theirs.mask_token_id == own.special.mask
    for case in cases:
      ids = theirs(case["text"], add_special_tokens=False)["input_ids"]
      # A special token that is written out stands for itself there.
      is_special = any(token in case["text"] for token in names)
      assert (ids != case["ids"][name]) == is_special, case["text"]
    assert read_tokenizer(folder).digest == own.digest


@pytest.mark.parametrize("lowercase", [True, False])
def test_their_sentencepiece_gives_our_ids(lowercase, tmp_path):
  data = helpers.sentencepiece_model()
  own = Tokenizer("sentencepiece", data, lowercase=lowercase)
  write_tokenizer(tmp_path, own, 64)
  (tmp_path / "config.json").write_text('{"model_type": "electra"}')
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
  assert theirs("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]
  assert theirs.mask_token_id == own.special.mask
  lines = (helpers.GOLDEN / "small_corpus.txt").read_text(encoding="utf-8")
  texts = [*lines.split("\n"), "  Two  Spaces ", "Élan", "한국어", "हिन्दी"]
  for text in texts:
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert ids == own.encode(text), text
  assert theirs.decode(own.encode("the senate")) == "the senate"
