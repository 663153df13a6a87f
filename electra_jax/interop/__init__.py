"""Model files of TensorFlow 1 and Hugging Face: the verb `convert`."""
