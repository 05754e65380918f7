"""How traffic to services gets to pods: kube-proxy's rules, the cluster's DNS, network policies.

One for the whole cluster instead of one a node, and asleep until a program in a container first
connects to something: a cluster in which nobody does pays nothing.  It knows objects of the API
only through its own informers.
"""
