"""Data from production: shipped, compacted, queried, and judged. Run it with `python -m monitor`."""
