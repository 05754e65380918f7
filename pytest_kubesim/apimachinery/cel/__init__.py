"""CEL, the Common Expression Language, as Kubernetes speaks it.

From text to value: ``lexer`` and ``parser`` make a tree (``syntax``), ``checker`` gives every node
its type in an ``environment``, ``planner`` compiles it to closures, ``cost`` estimates what it may
cost. ``program`` is the door to all of that. ``library`` holds the functions; ``declared`` makes
types of schemas, ``rules`` runs the rules of custom resources, ``definition_rules`` checks them in
a CRD.

It knows no server: who may do what is asked of an ``Authorizer`` that the caller brings.
"""
