"""The kinds of policy: a file each, named after the kind, that ends with its `KIND`.

What it is: budgets for disruptions.
What it is not: how requests are served; that is `apiserver`.
"""
