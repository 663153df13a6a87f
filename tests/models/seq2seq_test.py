"""Networks that write a text: masks, caches, what depends on what, starts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.texts import make_generate
from electra_jax.devices.attention import make_attend
from electra_jax.devices.sharding import RULES, make_mesh
from electra_jax.errors import UserError
from electra_jax.models.attention import (
    MASKED_SCORE,
    SOURCE_TO_TARGET,
    AttentionConfig,
    attention_score_bias,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.seq2seq import (
    ARCHITECTURES,
    Seq2Seq,
    longest_target,
)
from electra_jax.models.seq2seq_params import init_params, start_from
from electra_jax.models.task_heads import HeadConfig
from electra_jax.models.task_model import TaskModel
from electra_jax.trees import match_rules, path_names
from tests import helpers

BEGIN, END, PAD = 1, 2, 0
CONFIG = EncoderConfig(
    vocab_size=11,
    embedding_size=8,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    intermediate_size=32,
    max_position_embeddings=24,
)
SOURCE_LENGTHS = np.array([7, 4, 5])
TARGET_LENGTH = 6
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@functools.cache
def params_of(architecture, config=CONFIG):
  """Returns parameters that are all away from where they start."""
  params = init_params(config, architecture, 0)
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  moved = [
      x + 0.3 * jax.random.normal(key, x.shape)
      for x, key in zip(leaves, keys, strict=True)
  ]
  return jax.tree.unflatten(structure, moved)


def rows(length=7, batch=slice(None)):
  """Returns ids and mask of sources, padded to a length."""
  ids = np.random.default_rng(0).integers(3, 11, (3, 7))
  ids = np.pad(ids, ((0, 0), (0, length - 7)))
  mask = np.arange(length)[None] < SOURCE_LENGTHS[:, None]
  return tuple(
      jnp.asarray(x[batch], jnp.int32) for x in (np.where(mask, ids, PAD), mask)
  )


def targets(seed=1):
  ids = np.random.default_rng(seed).integers(3, 11, (3, TARGET_LENGTH))
  ids[:, 0] = BEGIN
  return jnp.asarray(ids, jnp.int32)


def logits_of(architecture, source, target_ids, config=CONFIG, **options):
  mask = jnp.ones_like(target_ids)

  @jax.jit
  def run(params):
    bound = Seq2Seq(config, architecture).bind({"params": params})
    return bound.logits(bound(*source, target_ids, mask, **options))

  return run(params_of(architecture, config))


def test_the_mask_of_a_source_with_its_target():
  # Two tokens of the source, one of padding, two of the target.
  bias = attention_score_bias(
      jnp.array([[1, 1, 0, 2, 2]]), False, SOURCE_TO_TARGET
  )
  sees = np.array(
      [
          [1, 1, 0, 0, 0],
          [1, 1, 0, 0, 0],
          [1, 1, 0, 0, 0],  # Padding, which nobody reads.
          [1, 1, 0, 1, 0],
          [1, 1, 0, 1, 1],
      ]
  )
  np.testing.assert_array_equal(bias[0, 0], (1 - sees) * MASKED_SCORE)


@pytest.mark.parametrize(
    ("architecture", "head_size"),
    [
        ("unilm", None),
        ("shared", None),
        helpers.slow("recurrent", None),
        helpers.slow("separate", None),
        helpers.slow("shared", 5),
    ],
)
def test_steps_give_what_whole_targets_give(architecture, head_size):
  """Two targets of each source, whose beams change places at every step."""
  config = dataclasses.replace(CONFIG, head_size=head_size)
  source, both = rows(), (targets(1), targets(2))
  whole = [logits_of(architecture, source, ids, config) for ids in both]
  model = Seq2Seq(config, architecture)
  params = params_of(architecture, config)
  apply = functools.partial(model.apply, {"params": params})
  options = {"beam_size": 2, "max_length": TARGET_LENGTH, "method": "start"}
  memory, kept = jax.jit(functools.partial(apply, **options))(*source)
  step = jax.jit(functools.partial(apply, method="step"))
  # The first target stands at beam 0, 1, 0, ….
  writers = jnp.arange(TARGET_LENGTH) % 2
  ancestry = jnp.stack([writers, 1 - writers])[None].repeat(3, axis=0)
  for place in range(TARGET_LENGTH):
    order = [0, 1] if place % 2 == 0 else [1, 0]
    tokens = jnp.stack([both[i][:, place] for i in order], axis=1)
    # What is not written yet must not be read.
    known = jnp.where(jnp.arange(TARGET_LENGTH) < place, ancestry, 1)
    got, kept = step(memory, kept, tokens, known[:, order], jnp.int32(place))
    wanted = jnp.stack([whole[i][:, place] for i in order], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@every_architecture
def test_a_token_sees_its_source_and_what_stands_before_it(architecture):
  (ids, mask), target_ids = rows(), targets()
  logits = logits_of(architecture, (ids, mask), target_ids)
  later = target_ids.at[:, 3].set(9 - target_ids[:, 3] % 3)
  changed = logits_of(architecture, (ids, mask), later)
  assert (jnp.abs(changed - logits)[:, 3:].max((0, 2)) > 1e-3).all()
  np.testing.assert_allclose(changed[:, :3], logits[:, :3], atol=1e-6)
  other = ids.at[:, 2].set(9 - ids[:, 2] % 3)
  changed = logits_of(architecture, (other, mask), target_ids)
  assert (jnp.abs(changed - logits).max((0, 2)) > 1e-3).all()


@pytest.mark.slow
@every_architecture
def test_padding_and_batch_change_nothing(architecture):
  seeds = jnp.arange(3, dtype=jnp.uint32)
  whole = logits_of(architecture, rows(), targets(), dropout_seeds=seeds)
  plain = logits_of(architecture, rows(), targets())
  assert jnp.abs(whole - plain).max() > 1e-3
  some = slice(1, 3)
  part = logits_of(
      architecture, rows(12, some), targets()[some], dropout_seeds=seeds[some]
  )
  np.testing.assert_allclose(part, whole[some], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "architecture",
    [name if name == "unilm" else helpers.slow(name) for name in ARCHITECTURES],
)
def test_texts_do_not_depend_on_padding_and_score_what_they_score(architecture):
  params, model = params_of(architecture), Seq2Seq(CONFIG, architecture)
  config = DecodingConfig("beam", beam_size=3, max_length=TARGET_LENGTH)
  write = make_generate(
      model, config, begin_id=BEGIN, end_id=END, pad_id=PAD, never_ids=(3,)
  )
  written = write(params, *rows(), jnp.arange(3))
  some = slice(1, 3)
  part = write(params, *rows(12, some), jnp.arange(3)[some])
  np.testing.assert_array_equal(part.tokens, written.tokens[some])
  np.testing.assert_allclose(part.scores, written.scores[some], rtol=1e-4)

  labels = written.tokens
  before = jnp.pad(labels, ((0, 0), (1, 0)), constant_values=BEGIN)[:, :-1]
  score = jax.jit(functools.partial(model.apply, method="label_scores"))
  scores = score(
      {"params": params}, *rows(), before, jnp.ones_like(before), labels
  )
  is_token = jnp.arange(TARGET_LENGTH)[None] < written.lengths[:, None]
  totals = jnp.sum(scores.label, axis=1, where=is_token)
  penalty = ((5 + written.lengths) / 6) ** 0.6
  np.testing.assert_allclose(written.scores, totals / penalty, rtol=1e-4)
  assert not set(np.unique(labels[is_token])) & {PAD, BEGIN, 3}


def test_label_scores_are_those_of_whole_logits():
  source, target_ids = rows(), targets()
  labels = targets(3)
  log_probabilities = jax.nn.log_softmax(logits_of("unilm", source, target_ids))
  model = Seq2Seq(CONFIG)
  score = jax.jit(functools.partial(model.apply, method="label_scores"))
  scores = score(
      {"params": params_of("unilm")},
      *(*source, target_ids, jnp.ones_like(target_ids), labels),
  )
  label = jnp.take_along_axis(log_probabilities, labels[..., None], 2)[..., 0]
  np.testing.assert_allclose(scores.label, label, rtol=1e-5, atol=1e-5)
  total = log_probabilities.sum(-1)
  np.testing.assert_allclose(scores.total, total, rtol=1e-5)
  is_best = log_probabilities.argmax(-1) == labels
  np.testing.assert_array_equal(scores.is_best, is_best)
  assert is_best.any()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["shared", "unilm", "separate"])
def test_what_is_computed_again_is_the_same(architecture):
  seeds = jnp.arange(3, dtype=jnp.uint32)
  gradients = []
  for remat in ("none", "layer"):
    model = Seq2Seq(dataclasses.replace(CONFIG, remat=remat), architecture)

    @jax.jit
    @jax.grad
    def gradient(params, model=model):
      ids = targets()
      scores = model.apply(
          {"params": params},
          *(*rows(), ids, jnp.ones_like(ids), ids),
          dropout_seeds=seeds,
          method="label_scores",
      )
      return jnp.sum(scores.label)

    gradients.append(gradient(params_of(architecture)))
  for (path, plain), (_, again) in zip(
      *map(path_names, gradients), strict=True
  ):
    np.testing.assert_allclose(plain, again, rtol=1e-4, atol=1e-4, err_msg=path)
    if "key/bias" not in path:  # Which softmax does not see.
      assert jnp.abs(plain).max() > 0, path


@every_architecture
def test_the_encoder_starts_as_that_of_other_tasks(architecture):
  params = init_params(CONFIG, architecture, 3)
  task = TaskModel(CONFIG, (HeadConfig("a", "classification", 2),))
  ids = jnp.zeros((1, 4), jnp.int32)
  lengths = jnp.array([[2, 4]])
  theirs = task.init(
      *(jax.random.key(3), ids, ids, jnp.zeros(1, jnp.int32), lengths),
      word_places={},
      answer_starts=None,
  )["params"]
  for part in ("embeddings", "discriminator"):
    jax.tree.map(np.testing.assert_array_equal, params[part], theirs[part])
  wanted = ["discriminator", "embeddings", "target_head"]
  if architecture != "unilm":
    wanted.insert(0, "decoder")
  assert sorted(params) == wanted


@every_architecture
def test_every_parameter_has_its_place_on_devices(architecture):
  params = jax.eval_shape(lambda: init_params(CONFIG, architecture, 0))
  for (path, leaf), (_, spec) in zip(
      path_names(params),
      path_names(match_rules(RULES, params, "sharding")),
      strict=True,
  ):
    assert len(spec) <= leaf.ndim
    if path.endswith("kernel"):
      assert "fsdp" in spec, path


class TestStart:

  def trained(self, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    params = init_params(config, "unilm", 8)
    return {"embeddings": params["embeddings"]}, {
        "encoder": params["discriminator"],
        "head": params["target_head"],
    }

  @every_architecture
  def test_decoder_and_head_are_filled(self, architecture):
    tables, own = self.trained()
    fresh = init_params(CONFIG, architecture, 0)
    encoder = {**tables, "discriminator": own["encoder"]}
    started = start_from(fresh, encoder, None, architecture)
    assert jax.tree.structure(started) == jax.tree.structure(fresh)
    for path, leaf in path_names(started):
      origin = fresh
      for part in ("embeddings/", "discriminator/"):
        if path.startswith(part):
          origin = encoder
      if path.startswith(("decoder/layer", "decoder/embeddings_project")):
        origin = {"decoder": encoder["discriminator"]}
      wanted = dict(path_names(origin))[path]
      np.testing.assert_array_equal(leaf, wanted, err_msg=path)

  def test_the_generator_may_start_decoder_and_head(self):
    tables, own = self.trained()
    fresh = init_params(CONFIG, "separate", 0)
    encoder = {**tables, "discriminator": fresh["discriminator"]}
    generator = {"generator": own["encoder"], "generator_head": own["head"]}
    started = start_from(fresh, encoder, generator, "separate")
    for name, wanted in own["encoder"].items():
      jax.tree.map(
          np.testing.assert_array_equal, started["decoder"][name], wanted
      )
    assert started["target_head"] is own["head"]
    # The discriminator's own masked-LM head comes first.
    token_head = fresh["target_head"]
    encoder["token_head"] = token_head
    started = start_from(fresh, encoder, generator, "separate")
    assert started["target_head"] is token_head

  def test_another_shape_is_refused_and_a_head_of_one_left_fresh(self):
    tables, narrow = self.trained(hidden_size=8)
    fresh = init_params(CONFIG, "separate", 0)
    encoder = {**tables, "discriminator": fresh["discriminator"]}
    generator = {"generator_head": narrow["head"]}
    started = start_from(fresh, encoder, generator, "separate")
    assert started["target_head"] is fresh["target_head"]
    generator["generator"] = narrow["encoder"]
    with pytest.raises(UserError, match="generator/embeddings_project/bias"):
      start_from(fresh, encoder, generator, "separate")


def test_rows_longer_than_the_positions_are_refused():
  source, longest = rows(20), CONFIG.max_position_embeddings
  assert longest_target(CONFIG, "unilm", 20) == longest - 20
  assert longest_target(CONFIG, "shared", 20) == longest
  with pytest.raises(UserError, match=r"together 26 positions .* has 24"):
    logits_of("unilm", source, targets())
  write = make_generate(
      Seq2Seq(CONFIG, "shared"),
      DecodingConfig(max_length=25),
      begin_id=BEGIN,
      end_id=END,
      pad_id=PAD,
  )
  with pytest.raises(UserError, match="need 25 positions"):
    write(params_of("shared"), *source, jnp.arange(3))


def test_no_kernel_takes_the_mask_of_a_source_with_its_target():
  attend = make_attend("fused", make_mesh())
  config = AttentionConfig(2, direction=SOURCE_TO_TARGET)
  hidden = jnp.zeros((1, 128, 16))
  with pytest.raises(UserError, match="has no kernel; set it to 'auto'"):
    attend(config, *(hidden,) * 3, jnp.ones((1, 128), jnp.int32), None, None)


def test_an_unknown_architecture_is_refused():
  with pytest.raises(UserError, match="'bart'; it must be one of unilm"):
    init_params(CONFIG, "bart", 0)
