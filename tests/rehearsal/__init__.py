"""A rehearsal of azure-pipelines.yml on one machine, with real parts in place of Azure's services."""
