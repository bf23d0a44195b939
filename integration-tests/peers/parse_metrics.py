"""Reads Prometheus text from standard input with the Prometheus client's parser; prints `name kind samples` lines."""

import sys

from prometheus_client.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, len(family.samples))
