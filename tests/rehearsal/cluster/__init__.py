"""A replacement for AKS: an API server with permissions, controllers, and pods that are Docker containers.

Each pod is an object of its own, with its own readiness and end. A few containers run all pods of a
revision, and nginx weights each container by the number of ready pods that it runs, so that traffic is split
as over the real pods. Without a Docker network the pods are objects only, for tests of the cluster itself.
"""
