#!/usr/bin/env bash
# Installs the test extra into an environment and runs the tests.
#
#   bash launch/test.sh [PYTEST ARGUMENTS]     # "-m ''" adds the slow ones
set -euo pipefail

cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

if [[ ! -x "$VENV/bin/python" ]]; then
  "$PYTHON" -m venv "$VENV"
fi
"$VENV/bin/pip" install --quiet --disable-pip-version-check -e '.[test]'
exec "$VENV/bin/python" -m pytest "$@"
