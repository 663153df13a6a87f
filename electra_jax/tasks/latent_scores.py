"""What Gaussians of texts say of an autoencoder: what z holds, and whether.

All are estimates over the texts of a split.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

ACTIVE_VARIANCE = 0.01  # Burda et al. (2016).
MOST_TEXTS = 4096  # Whose mutual information with z is estimated.
_ROWS = 512  # Of the table of densities, that are held at a time.


class Costs(NamedTuple):
  """What each text of a split costs, and where it lies; n texts, K dimensions.

  Attributes:
    nats: of all its tokens, where z is the mean.
    tokens: how many those are.
    drawn_nats: of all its tokens, where z is drawn.
    divergences: of its Gaussian from the prior, in nats of each dimension.
    means: of its Gaussian.
    deviations: of its Gaussian.
    latents: z as drawn.
  """

  nats: Float[np.ndarray, " n"]
  tokens: Float[np.ndarray, " n"]
  drawn_nats: Float[np.ndarray, " n"]
  divergences: Float[np.ndarray, "n K"]
  means: Float[np.ndarray, "n K"]
  deviations: Float[np.ndarray, "n K"]
  latents: Float[np.ndarray, "n K"]


def score_latents(costs: Costs) -> dict[str, float]:
  """Returns the scores of an autoencoder, in nats a text but for units.

  `elbo` is the evidence lower bound, -(`reconstruction` + `kl`), of one draw of
  each text, without free bits and with β = 1, whatever training had.
  """
  costs = Costs(*(np.asarray(x, np.float64) for x in costs))
  kl = float(costs.divergences.sum(axis=1).mean())
  reconstruction = float(costs.drawn_nats.mean())
  return {
      "elbo": -reconstruction - kl,
      "reconstruction": reconstruction,
      "kl": kl,
      "active_units": float(active_units(costs.means)),
      "mutual_information": mutual_information(
          costs.means, costs.deviations, costs.latents
      ),
  }


def active_units(means: Float[np.ndarray, "n K"]) -> int:
  """Counts the dimensions whose mean differs from text to text.

  Args:
    means: of each text's Gaussian.

  Returns:
    How many have a variance over texts above 0.01.

  Source: Burda, Grosse and Salakhutdinov (2016), "Importance weighted
  autoencoders".
  """
  return int(np.sum(np.var(means, axis=0) > ACTIVE_VARIANCE))


def mutual_information(
    means: Float[np.ndarray, "n K"],
    deviations: Float[np.ndarray, "n K"],
    latents: Float[np.ndarray, "n K"],
) -> float:
  """Estimates how many nats z tells of which text it was drawn for.

  The mean over texts of log q(z | x) - log q(z), with q(z) the mean of the
  Gaussians of all n texts. It is log n at most: where that is near, the split
  is too small for more to be seen.

  Args:
    means: of each text's Gaussian; of more than 4,096 texts the first.
    deviations: the same.
    latents: one draw of each.

  Source: Hoffman and Johnson (2016), "ELBO surgery"; He et al. (2019),
  "Lagging inference networks".
  """
  means, deviations, latents = (
      np.asarray(x, np.float64)[:MOST_TEXTS]
      for x in (means, deviations, latents)
  )
  shifts = (latents - means) / deviations
  own = -np.sum(0.5 * shifts**2 + np.log(deviations), axis=1)
  mixed = np.concatenate(
      [
          _log_mixture(latents[start : start + _ROWS], means, deviations)
          for start in range(0, len(latents), _ROWS)
      ]
  )
  return float(np.mean(own - mixed))


def _log_mixture(
    latents: Float[np.ndarray, "r K"],
    means: Float[np.ndarray, "n K"],
    deviations: Float[np.ndarray, "n K"],
) -> Float[np.ndarray, " r"]:
  """Returns log q(z), less a constant that `own` lacks as well."""
  precisions = deviations**-2
  squares = (
      latents**2 @ precisions.T
      - 2 * latents @ (means * precisions).T
      + np.sum(means**2 * precisions, axis=1)
  )
  logs = -0.5 * squares - np.log(deviations).sum(axis=1)  # [r, n]
  largest = logs.max(axis=1)
  return largest + np.log(np.exp(logs - largest[:, None]).mean(axis=1))
