"""The kinds of storagemigration.k8s.io: a file each, named after it, that ends with its `KIND`.

What it is: migrations of what is stored.
What it is not: how requests are served; that is `apiserver`.
"""
