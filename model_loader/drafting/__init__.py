"""Drafts of packages: made from a model and the data that it is evaluated on."""
