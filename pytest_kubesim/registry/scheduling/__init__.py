"""The kinds of scheduling.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: classes of priority.
What it is not: how requests are served; that is `apiserver`.
"""
