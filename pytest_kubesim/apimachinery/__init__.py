"""What all of Kubernetes is made of, as functions of their input.

Objects and their metadata, schemas, statuses, times, quantities, selectors, names, patches, managed
fields, CEL. As in upstream's ``k8s.io/apimachinery``, nothing here knows a server, a clock, a
random source or a file; what a kind means is in ``registry``.
"""
