"""An unmatched parameter is an error, everywhere."""

import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax import trees
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.interop.names import params_from_released, released_name

TREE = {"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}


def test_the_first_match_of_the_whole_path_wins():
  rules = ((r"a/b.*", 1), (r"a/.*", 2), (r".*", 3))
  assert trees.match_rules(rules, TREE, "test") == {
      "a": {"kernel": 2, "bias": 1}
  }


def test_a_part_of_a_path_is_no_match():
  with pytest.raises(UserError, match="'a/bias' matches none of the 1 test"):
    trees.match_rules(((r"bias", 1),), TREE, "test")


def test_a_parameter_without_sharding_is_an_error():
  mesh = sharding.make_mesh()
  with pytest.raises(UserError, match="'pooler/kernel' matches none"):
    sharding.params_shardings(mesh, {"pooler": {"kernel": jnp.ones((2, 2))}})


def test_a_width_that_does_not_divide_is_an_error():
  mesh = sharding.make_mesh(fsdp=8)
  params = {"generator_head": {"dense": {"kernel": jnp.ones((12, 2))}}}
  with pytest.raises(UserError, match="12 does not divide over the 8"):
    sharding.params_shardings(mesh, params)


def test_released_names_are_used_up_or_an_error():
  with pytest.raises(UserError, match="'pooler/kernel' has no released name"):
    released_name("pooler/kernel")
  params = {"generator_head": {"output_bias": jnp.ones(2)}}
  name = "generator_predictions/output_bias"
  with pytest.raises(UserError, match=f"no variable '{name}'"):
    params_from_released(params, {})
  with pytest.raises(UserError, match="no place for 1 variables"):
    params_from_released(params, {name: np.ones(2), "more": np.ones(1)})


def test_the_table_of_parameters():
  assert trees.count_parameters(TREE) == 9
  table = trees.parameter_table(TREE).splitlines()
  assert table[0].split() == ["a/bias", "3", "3"]
  assert table[-1].split() == ["total", "9"]
