"""The commands of the loader: a module for each group, with its arguments and what they run."""
