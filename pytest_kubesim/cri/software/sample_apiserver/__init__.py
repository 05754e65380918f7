"""sample-apiserver: the API server with which aggregation is tested; wardle.example.com.

It is not the machinery that answers: that is the cluster's own (`cluster.extension_servers`), as
the real one is made of the library that kube-apiserver is made of.
"""
