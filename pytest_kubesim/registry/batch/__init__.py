"""The kinds of the batch group: a file each, named after the kind, that ends with its `KIND`.

What it is: defaults, preparation, validation, warnings and columns of each kind.  What it is not:
how requests are served; that is `apiserver`.
"""
