"""The commands of `python -m monitor`."""
