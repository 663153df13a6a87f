"""The verb `finetune`, its trainer, and the model that comes out."""
