#!/usr/bin/env bash
# Installs the test extra into an environment and runs the tests.
#
#   bash launch/test.sh [PYTEST ARGUMENTS]     # "-m 'not chaos'" adds the slow ones
#
# A worker for each core, up to four of about 2 GB, takes whole files, since a
# file's tests share runs; "-n 0" keeps to one process, as a debugger needs it.
set -euo pipefail

cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

if [[ ! -x "$VENV/bin/python" ]]; then
  "$PYTHON" -m venv "$VENV"
fi
"$VENV/bin/pip" install --quiet --disable-pip-version-check -e '.[test]'
exec "$VENV/bin/python" -m pytest \
  -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
