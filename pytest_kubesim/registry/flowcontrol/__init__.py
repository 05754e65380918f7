"""The kinds of flowcontrol.apiserver.k8s.io: a file each, which ends with its `KIND`.

What it is: the flows and priorities of requests.
What it is not: how requests are served; that is `apiserver`.
"""
