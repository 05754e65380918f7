"""The kinds of events.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: events by their new names; stored as those of the core.
What it is not: how requests are served; that is `apiserver`.
"""
