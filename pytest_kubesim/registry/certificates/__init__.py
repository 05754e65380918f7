"""The kinds of certificates.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: requests for certificates.
What it is not: how requests are served; that is `apiserver`.
"""
