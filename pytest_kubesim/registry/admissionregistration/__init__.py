"""The kinds of admissionregistration.k8s.io: a file each, which ends with its `KIND`.

What it is: webhooks and policies of admission, as objects.
What it is not: how requests are served; that is `apiserver`.
"""
