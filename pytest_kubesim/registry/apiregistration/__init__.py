"""The kinds of apiregistration.k8s.io: a file each, named after it, that ends with its `KIND`.

What it is: who serves which group version.
What it is not: how requests are served; that is `apiserver`.
"""
