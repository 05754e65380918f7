"""The kinds of resource.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: devices: slices, classes, claims.
What it is not: how requests are served; that is `apiserver`.
"""
