"""The kinds of autoscaling: a file each, named after the kind, that ends with its `KIND`.

What it is: autoscalers of pods, in both versions.
What it is not: how requests are served; that is `apiserver`.
"""
