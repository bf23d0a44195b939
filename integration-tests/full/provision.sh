#!/usr/bin/env bash
# Builds the collectors of tier 3 (see builder*.yaml), MinIO, Loki and VictoriaLogs outside the checkout, and fetches
# OpenSearch, once per version of them. Wants Go, and for OpenSearch Java 17 or later with Maven. Prints the directory;
# WEIR_PEERS names another place for it.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
home="${WEIR_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-peers}"
# collector NAME LIST: a collector of the components in LIST, in the directory NAME.
collector() {
  local list="$here/$2" at="$home/$1" version
  cmp -s "$list" "$at/built.yaml" && return
  version="$(sed -n 's/^  version: //p' "$list")"
  rm -rf "$at"
  mkdir -p "$at"
  cp "$list" "$at/builder.yaml"
  printf '  output_path: %s\n' "$at/source" >"$at/output.txt"
  sed -i "/^  version: /r $at/output.txt" "$at/builder.yaml"
  GOBIN="$at" go install "go.opentelemetry.io/collector/cmd/builder@v$version" >&2
  # The builder ends by fetching what the components' own tests import as well. Where that cannot be had, the sources and
  # their go.mod are there all the same.
  "$at/builder" --config "$at/builder.yaml" --skip-compilation >&2 || [ -f "$at/source/go.mod" ]
  (cd "$at/source" && nice go build -mod=mod -trimpath -ldflags '-s -w' -o "$at/otelcol" .) >&2
  cp "$list" "$at/built.yaml"
}
collector otelcol builder.yaml
collector otelcol-awss3 builder-awss3.yaml
collector otelcol-loki builder-loki.yaml
collector otelcol-elasticsearch builder-elasticsearch.yaml
# fetched MODULE@VERSION: its sources, in a folder that is not to be written to.
fetched() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }
# The last release of MinIO, as the module proxy has it. Its tags are dates, which are no versions to Go.
minio=v0.0.0-20250907161309-07c3a429bfed
if [ "$(cat "$home/minio/version.txt" 2>/dev/null)" != "$minio" ]; then
  mkdir -p "$home/minio"
  GOBIN="$home/minio" nice go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$minio" >&2
  printf '%s\n' "$minio" >"$home/minio/version.txt"
fi
# Loki. Its module says that another one stands in a folder beside it, and the zip of a module has no such folder: that one
# is fetched by the version which the module asks for, and put there.
loki=v3.7.6
if [ "$(cat "$home/loki/version.txt" 2>/dev/null)" != "$loki" ]; then
  rm -rf "$home/loki"
  mkdir -p "$home/loki"
  cp -r --no-preserve=mode "$(fetched "github.com/grafana/loki/v3@$loki")" "$home/loki/source"
  push="$(sed -n 's#^\t\(github.com/grafana/loki/pkg/push\) \(v[^ ]*\).*#\1@\2#p' "$home/loki/source/go.mod")"
  mkdir -p "$home/loki/source/pkg/push"
  cp -r --no-preserve=mode "$(fetched "$push")/." "$home/loki/source/pkg/push/"
  (cd "$home/loki/source" && CGO_ENABLED=0 nice go build -mod=mod -trimpath -ldflags '-s -w' -o "$home/loki/loki" ./cmd/loki) >&2
  rm -rf "$home/loki/source"
  printf '%s\n' "$loki" >"$home/loki/version.txt"
fi
# VictoriaLogs. Its module puts another version of one in the place of the one that it asks for, which `go install` does not
# follow; built where it lies it does.
victoria=v1.43.1
if [ "$(cat "$home/victoria-logs/version.txt" 2>/dev/null)" != "$victoria" ]; then
  rm -rf "$home/victoria-logs"
  mkdir -p "$home/victoria-logs"
  (
    cd "$(fetched "github.com/VictoriaMetrics/VictoriaLogs@$victoria")"
    CGO_ENABLED=0 nice go build -trimpath -ldflags '-s -w' -o "$home/victoria-logs/victoria-logs" ./app/victoria-logs
  ) >&2
  printf '%s\n' "$victoria" >"$home/victoria-logs/version.txt"
fi
# OpenSearch, as Maven Central has it: its libraries, and a class of ours that starts them.
if ! cat "$here/opensearch/pom.xml" "$here/opensearch/Peer.java" | cmp -s - "$home/opensearch/built.txt"; then
  rm -rf "$home/opensearch"
  mkdir -p "$home/opensearch"
  nice mvn --batch-mode --quiet -Dstyle.color=never --strict-checksums --file "$here/opensearch/pom.xml" \
    "-Dmaven.repo.local=$home/opensearch/repository" "-DoutputDirectory=$home/opensearch/lib" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies >&2
  rm -rf "$home/opensearch/repository"
  nice javac -cp "$home/opensearch/lib/*" -d "$home/opensearch/classes" "$here/opensearch/Peer.java" >&2
  cat "$here/opensearch/pom.xml" "$here/opensearch/Peer.java" >"$home/opensearch/built.txt"
fi
printf '%s\n' "$home"
