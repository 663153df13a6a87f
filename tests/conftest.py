"""Eight simulated devices, strict shapes, no silent broadcasting."""

import os
import tempfile

import jax
import jaxtyping

# Programs compiled once serve every test, and the processes that tests start.
_CACHE = tempfile.TemporaryDirectory(prefix="electra_jax_test_cache")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PLATFORMS"] = "cpu"

jax.config.update("jax_compilation_cache_dir", _CACHE.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotated shape and dtype of the package is checked in every test.
jaxtyping.install_import_hook("electra_jax", "beartype.beartype")
