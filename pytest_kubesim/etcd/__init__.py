"""The room of etcd: a key-value store with revisions, watches and leases, and its members.

It knows keys and opaque values, never Kubernetes objects. ``mvcc`` and ``lease`` are functions of
their input; a ``member`` owns one store and applies requests to it; a ``client`` is what others
hold.
"""
