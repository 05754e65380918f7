"""The kinds of node.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: classes of container runtimes.
What it is not: how requests are served; that is `apiserver`.
"""
