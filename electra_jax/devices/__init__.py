"""What the hardware decides: chips, sharding, kernels, caches."""
