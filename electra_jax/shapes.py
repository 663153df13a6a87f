"""Axis letters and array aliases used in every annotation.

B batch rows, L length in tokens, K masked positions per row, V vocabulary,
E embedding width, D model width, F feed-forward width, N attention heads,
H head width, C classes.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Bool, Float, Int, UInt32

TokenIds = Int[Array, "B L"]
TokenMask = Int[Array, "B L"]
TokenWeights = Float[Array, "B L"]
Positions = Int[Array, "B K"]
SlotIds = Int[Array, "B K"]
SlotWeights = Float[Array, "B K"]
Hidden = Float[Array, "B L D"]
RowSeeds = UInt32[Array, " B"]
TokenSeeds = UInt32[Array, "B L"]
Scalar = Float[Array, ""]
Params = Mapping[str, Any]

__all__ = [
    "Array",
    "Bool",
    "Float",
    "Hidden",
    "Int",
    "Params",
    "Positions",
    "RowSeeds",
    "Scalar",
    "SlotIds",
    "SlotWeights",
    "TokenIds",
    "TokenMask",
    "TokenSeeds",
    "TokenWeights",
    "UInt32",
]
