#!/usr/bin/env bash
# Installs the peers of tier 2 outside the checkout, once per version of their lists: requirements.txt into a virtual
# environment of Python, js/package.json into modules of Node (20 or later); and builds s3s-fs. Prints the directory of
# all; WEIR_PEERS names another place for it.
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
# A store that takes the headers of locks and keeps none. Newer ones want a newer compiler.
s3s=0.14.1
if [ "$(cat "$home/s3s-fs/version.txt" 2>/dev/null)" != "$s3s" ]; then
  mkdir -p "$home/s3s-fs"
  CARGO_TARGET_DIR="$home/s3s-fs/target" nice cargo install --quiet --locked --root "$home/s3s-fs" --version "$s3s" --features binary s3s-fs >&2
  rm -rf "$home/s3s-fs/target"
  printf '%s\n' "$s3s" >"$home/s3s-fs/version.txt"
fi
printf '%s\n' "$home"
