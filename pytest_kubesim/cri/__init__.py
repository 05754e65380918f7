"""The container runtime of a node: images, sandboxes, containers and what runs in them.

It is the other side of the CRI: it knows images, pods' sandboxes and containers, and nothing of the
API server, of probes' thresholds or of restart policies (that is `kubelet`).  What a container
does is a *program* (`programs`), found by image, pod or container (`images`).
"""
