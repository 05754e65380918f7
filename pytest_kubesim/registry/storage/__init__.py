"""The kinds of storage.k8s.io: a file each, named after the kind, that ends with its `KIND`.

What it is: classes of storage, attachments, what CSI drivers tell.
What it is not: how requests are served; that is `apiserver`.
"""
