"""Exceptions of the benchmarks."""


class BenchmarkError(Exception):
    """A measurement failed, so its number is not recorded. The message has the expected and actual result."""
