"""Eight simulated devices, strict shapes, no silent broadcasting."""

import jax
import jaxtyping

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotated shape and dtype of the package is checked in every test.
jaxtyping.install_import_hook("electra_jax", "beartype.beartype")
