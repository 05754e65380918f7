"""The kinds of networking.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: ingresses, network policies, and the addresses of services.
What it is not: how requests are served; that is `apiserver`.
"""
