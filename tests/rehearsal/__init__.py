"""A rehearsal of azure-pipelines.yml on one machine, with local services in place of Azure's."""
