"""What is found on several sets of rows, joined."""

import math

import pytest

from electra_jax.errors import UserError
from electra_jax.exporting.findings import NOTHING, Finding, check_finding

NAN = Finding(math.nan, 0, 3)


@pytest.mark.parametrize(
    "found",
    [[NAN], [NAN, Finding(1e-6, 0, 3)], [Finding(1e-6, 0, 3), NAN]],
)
def test_logits_that_are_no_numbers_are_refused_wherever_they_are(found):
  with pytest.raises(UserError, match=r"of the exported x differ .* nan"):
    check_finding("x", sum(found, NOTHING))


def test_findings_add_up():
  found = Finding(1e-6, 1, 3, {"a": 1.0}) + Finding(1e-5, 2, 4, {"b": 2.0})
  assert found == Finding(1e-5, 3, 7, {"a": 1.0, "b": 2.0})
  check_finding("x", found)
