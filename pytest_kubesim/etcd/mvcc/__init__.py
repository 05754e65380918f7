"""The multi-version store under every etcd member, after etcd's ``server/storage/mvcc``.

No clock, no randomness, no I/O and no coroutines: the same calls give the same store, which is what
lets several members apply one log and stay equal.
"""
