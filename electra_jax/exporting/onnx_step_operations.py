"""What a step of a decoder needs beside the operations of an encoder."""

from electra_jax.exporting.onnx_operations import OnnxOperations


class OnnxStepOperations(OnnxOperations):
  """See `OnnxOperations`; B rows of one token each, [B, 1, D]."""

  def columns(self, x):
    """[B] -> [B, 1]."""
    return self._unsqueeze(x, -1)

  def one_token(self, x):
    """[B, D] -> [B, 1, D]."""
    return self._unsqueeze(x, 1)

  def only_token(self, x):
    """[B, 1, D] -> [B, D]."""
    return self._add("Squeeze", x, self._axes(1))

  def count(self, mask):
    """Whole numbers [B, L] -> their sums, [B]."""
    return self._add("ReduceSum", mask, self._axes(1), keepdims=0)

  def append(self, x, y, axis: int):
    """Puts y behind x."""
    return self._add("Concat", x, y, axis=axis)

  def mix_two(self, scores, other_scores, value, other_value):
    """Mixes values of two places by one softmax over the scores of both.

    Args:
      scores: [B, N, 1, S].
      other_scores: [B, N, 1, T].
      value: [B, N, S, H].
      other_value: [B, N, T, H].
    """
    shares = self.softmax(self.join(scores, other_scores))
    size = self._add("Shape", scores, start=3, end=4)
    axis = self._axes(3)
    of_one = self._add("Slice", shares, self._axes(0), size, axis)
    of_other = self._add("Slice", shares, size, self._axes(_END), axis)
    return self.add(
        self.matmul(of_one, value), self.matmul(of_other, other_value)
    )

  def source_bias(self, mask):
    """[B, S] -> [B, 1, S]: 0 of tokens, a large negative of padding."""
    return self._add("Squeeze", self.attention_bias(mask), self._axes(1))

  def transposed(self, x):
    """[B, S, D] -> [B, D, S]."""
    return self._add("Transpose", x, perm=(0, 2, 1))

  def thirds(self, x, width: int):
    """[…, 3 D] -> three of […, D]."""
    sizes = self._axes(width, width, width)
    return self._add("Split", x, sizes, num_outputs=3, axis=-1)

  def tanh(self, x):
    """Of each number."""
    return self._add("Tanh", x)

  def sigmoid(self, x):
    """Of each number."""
    return self._add("Sigmoid", x)

  def multiply(self, x, y):
    """Of each number."""
    return self._add("Mul", x, y)

  def one_minus(self, x):
    """Of each number."""
    return self._add("Sub", self._scalar(1.0), x)


_END = 2**62  # Behind the last of an axis.
