"""The fresh state: one trace serves its shapes and its values."""

import jax
import jax.numpy as jnp
import optax
from jax.sharding import SingleDeviceSharding

from electra_jax.training import step as steps


def test_a_fresh_state_is_traced_once():
  traces = []

  def init_params():
    traces.append(1)
    return {"kernel": jax.random.normal(jax.random.key(0), (3, 2))}

  optimizer = optax.adam(1e-3)
  abstract = steps.abstract_state(init_params, optimizer)
  where = SingleDeviceSharding(jax.devices()[1])
  fresh = steps.init_state(
      init_params, optimizer, jax.tree.map(lambda _: where, abstract)
  )
  assert len(traces) == 1
  assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, abstract)
  assert fresh.params["kernel"].sharding == where
