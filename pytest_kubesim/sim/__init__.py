"""The simulation kernel: virtual time, tasks, processes, network, keyed randomness, the journal.

Everything that happens in a run happens here, on one thread, in one order.  The room knows
nothing of Kubernetes: it could carry any distributed system.
"""
