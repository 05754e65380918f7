"""The kinds of discovery.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: the endpoints of services.
What it is not: how requests are served; that is `apiserver`.
"""
