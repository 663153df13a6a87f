"""The verb `pretrain`, its trainer, and the model that comes out."""
