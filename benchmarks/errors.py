"""What stops a benchmark: a number that cannot be trusted is not written down."""


class BenchmarkError(Exception):
    """One sentence with what was measured, what was expected and what came."""
