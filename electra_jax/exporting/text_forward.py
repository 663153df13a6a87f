"""The encoder and the decoder's step of a network that writes, as ONNX graphs.

Source: of the formulas, `electra_jax.models.seq2seq`, which every exported file
is compared with.
"""

import pathlib
from collections.abc import Mapping

from electra_jax.exporting.forward import (
    after_attention,
    ask_heads,
    encode,
    feed_forward,
    linear,
    masked_lm_logits,
    norm,
    project_heads,
    projected,
    read_heads,
)
from electra_jax.exporting.onnx_file import check_size, write_graph
from electra_jax.exporting.onnx_step_operations import OnnxStepOperations
from electra_jax.exporting.text_network import TextNetwork, next_name
from electra_jax.trees import count_parameters

Values = Mapping[str, str]


def write_encoder(path: pathlib.Path, network: TextNetwork) -> None:
  """Writes what reads the sources.

  Raises:
    UserError: it is too large for a file of ONNX.
  """
  check_size(count_parameters(network.params))
  ops = OnnxStepOperations(network.params)
  inputs = {port.name: port.name for port in network.encoder_inputs}
  outputs = _read(ops, network, inputs)
  write_graph(
      path, ops, outputs, network.encoder_inputs, network.encoder_outputs
  )


def write_decoder(path: pathlib.Path, network: TextNetwork) -> None:
  """Writes what reads one token of each row and scores the next one.

  Raises:
    UserError: it is too large for a file of ONNX.
  """
  check_size(count_parameters(network.params))
  ops = OnnxStepOperations(network.params)
  inputs = {port.name: port.name for port in network.decoder_inputs}
  if network.is_recurrent:
    hidden, kept = _step_of_state(ops, network, inputs)
  else:
    hidden, kept = _step_of_layers(ops, network, inputs)
  params = network.params
  table = params["embeddings"]["word_embeddings"]["embedding"]
  logits = masked_lm_logits(ops, params["target_head"], hidden, table)
  outputs = {"logits": ops.only_token(logits), **kept}
  write_graph(
      path, ops, outputs, network.decoder_inputs, network.decoder_outputs
  )


def _read(
    ops: OnnxStepOperations, network: TextNetwork, inputs: Values
) -> dict[str, str]:
  params, projections = network.params, []
  named = {
      "input_ids": inputs["source_ids"],
      "input_mask": inputs["source_mask"],
      "segment_ids": inputs["source_segments"],
  }
  states = encode(
      ops,
      network.config,
      params["embeddings"],
      params["discriminator"],
      named,
      projections,
  )
  if network.is_recurrent:
    mean = ops.mean_token(states, inputs["source_mask"])
    first = ops.tanh(linear(ops, mean, params["decoder"]["start"]))
    return {"source_states": states, "past_state": first}
  if not network.is_one_stack:
    heads, decoder = network.config.num_heads, params["decoder"]
    projections = [
        read_heads(ops, states, decoder[f"cross_{i}"], heads)
        for i in range(network.config.num_layers)
    ]
  return {
      f"source_{name}_{i}": value
      for i, pair in enumerate(projections)
      for name, value in zip(("key", "value"), pair, strict=True)
  }


def _step_of_layers(
    ops: OnnxStepOperations, network: TextNetwork, inputs: Values
) -> tuple[str, dict[str, str]]:
  params, heads = network.params, network.config.num_heads
  is_own = network.architecture == "separate"
  layers = params["decoder" if is_own else "discriminator"]
  hidden = projected(ops, _embedded(ops, network, inputs), layers)
  bias, kept = ops.attention_bias(inputs["source_mask"]), {}
  for i in range(network.config.num_layers):
    layer = layers[f"layer_{i}"]
    query, key, value = project_heads(ops, hidden, layer["attention"], heads)
    past = f"past_key_{i}", f"past_value_{i}"
    keys = ops.append(inputs[past[0]], key, axis=3)
    values = ops.append(inputs[past[1]], value, axis=2)
    kept |= {next_name(past[0]): keys, next_name(past[1]): values}
    source = inputs[f"source_key_{i}"], inputs[f"source_value_{i}"]
    scores = ops.matmul(query, keys)
    if network.is_one_stack:
      of_source = ops.add(ops.matmul(query, source[0]), bias)
      mixed = ops.mix_two(of_source, scores, source[1], values)
    else:
      mixed = ops.matmul(ops.softmax(scores), values)
    hidden = after_attention(
        ops, hidden, mixed, layer["attention"], layer["attention_layer_norm"]
    )
    if not network.is_one_stack:
      cross = params["decoder"][f"cross_{i}"]
      query = ask_heads(ops, hidden, cross, heads)
      scores = ops.add(ops.matmul(query, source[0]), bias)
      mixed = ops.matmul(ops.softmax(scores), source[1])
      hidden = after_attention(ops, hidden, mixed, cross, cross["layer_norm"])
    hidden = feed_forward(ops, hidden, layer)
  return hidden, kept


def _step_of_state(
    ops: OnnxStepOperations, network: TextNetwork, inputs: Values
) -> tuple[str, dict[str, str]]:
  """One step of a GRU; see `models.recurrent_decoder`."""
  params, width = network.params["decoder"], network.config.hidden_size
  words = _embedded(ops, network, inputs)
  state = ops.one_token(inputs["past_state"])
  states = inputs["source_states"]
  query = linear(ops, state, params["query"])
  scores = ops.matmul(query, ops.transposed(states))
  shares = ops.softmax(ops.add(scores, ops.source_bias(inputs["source_mask"])))
  context = ops.matmul(shares, states)  # [B, 1, D]
  read = linear(ops, ops.join(words, context), params["input_gates"])
  reset, update, new = ops.thirds(read, width)
  old_gates = linear(ops, state, params["state_gates"])
  old_reset, old_update, old = ops.thirds(old_gates, width)
  update = ops.sigmoid(ops.add(update, old_update))
  reset = ops.sigmoid(ops.add(reset, old_reset))
  new = ops.tanh(ops.add(new, ops.multiply(reset, old)))
  state = ops.add(
      ops.multiply(update, state), ops.multiply(ops.one_minus(update), new)
  )
  both = linear(ops, ops.join(state, context), params["output"])
  return ops.tanh(both), {"present_state": ops.only_token(state)}


def _embedded(
    ops: OnnxStepOperations, network: TextNetwork, inputs: Values
) -> str:
  """Embeds the newest tokens, [B, 1, E]."""
  tables = network.params["embeddings"]
  segment = 1 if network.is_one_stack else 0
  row = tables["token_type_embeddings"]["embedding"][segment : segment + 1]
  places = tables["position_embeddings"]["embedding"] + row
  place = inputs["place"]
  if network.is_one_stack:  # A target stands right behind its source.
    place = ops.add(place, ops.count(inputs["source_mask"]))
  words = ops.lookup(
      tables["word_embeddings"]["embedding"], ops.columns(inputs["tokens"])
  )
  words = ops.add(words, ops.lookup(places, ops.columns(place)))
  return norm(ops, words, tables["layer_norm"])
