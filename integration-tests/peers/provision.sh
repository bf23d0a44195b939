#!/usr/bin/env bash
# Installs the peers of tier 2 (see requirements.txt) into a virtual environment outside the checkout, once per version
# of that list. Prints the environment's directory. WEIR_PEERS names another place for it.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
home="${WEIR_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-peers}"
stamp="$home/installed.txt"
if ! cmp -s "$here/requirements.txt" "$stamp"; then
  rm -f "$stamp"
  mkdir -p "$home"
  python3 -m venv "$home/venv" >&2
  "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$stamp"
fi
printf '%s\n' "$home"
