#!/usr/bin/env bash
# Builds the collector of tier 3 (see builder.yaml) outside the checkout, once per version of that list. Wants Go. Prints
# the directory; WEIR_PEERS names another place for it.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
home="${WEIR_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-peers}"
stamp="$home/otelcol/built.yaml"
if ! cmp -s "$here/builder.yaml" "$stamp"; then
  version="$(sed -n 's/^  version: //p' "$here/builder.yaml")"
  rm -f "$stamp"
  mkdir -p "$home/otelcol"
  cp "$here/builder.yaml" "$home/otelcol/builder.yaml"
  printf '  output_path: %s\n' "$home/otelcol/source" >"$home/otelcol/output.txt"
  sed -i "/^  version: /r $home/otelcol/output.txt" "$home/otelcol/builder.yaml"
  GOBIN="$home/otelcol" go install "go.opentelemetry.io/collector/cmd/builder@v$version" >&2
  # The builder ends by fetching what the components' own tests import as well. Where that cannot be had, the sources and
  # their go.mod are there all the same.
  rm -rf "$home/otelcol/source"
  "$home/otelcol/builder" --config "$home/otelcol/builder.yaml" --skip-compilation >&2 || [ -f "$home/otelcol/source/go.mod" ]
  (cd "$home/otelcol/source" && nice go build -mod=mod -trimpath -ldflags '-s -w' -o "$home/otelcol/otelcol" .) >&2
  cp "$here/builder.yaml" "$stamp"
fi
printf '%s\n' "$home"
