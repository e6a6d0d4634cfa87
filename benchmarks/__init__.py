"""Measures zcs-exporter beside the programs whose work it takes over: ``python -m benchmarks``, as root."""
