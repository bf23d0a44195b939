#!/usr/bin/env bash
# Installs the peers of tier 2 outside the checkout, once per version of their lists: requirements.txt into a virtual
# environment of Python, js/package.json into modules of Node (20 or later). Prints the directory of both; WEIR_PEERS
# names another place for it.
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
if ! cmp -s "$here/js/package.json" "$home/js/installed.json"; then
  rm -rf "$home/js"
  mkdir -p "$home/js"
  cp "$here/js/package.json" "$home/js/package.json"
  (cd "$home/js" && npm install --silent --no-package-lock --no-audit --no-fund) >&2
  cp "$here/js/package.json" "$home/js/installed.json"
fi
printf '%s\n' "$home"
