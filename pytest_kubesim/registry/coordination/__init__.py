"""The kinds of coordination.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: leases, which every heartbeat renews.
What it is not: how requests are served; that is `apiserver`.
"""
