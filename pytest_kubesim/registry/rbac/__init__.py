"""The kinds of rbac.authorization.k8s.io: a file each, named after the kind, that ends with `KIND`.

What it is: roles, who has them, and who may grant them.
What it is not: how requests are served; that is `apiserver`.
"""
