"""Custom resources' schemas: what they prune, default and refuse.

An OpenAPI schema of a CRD, read by ``apimachinery.schema.from_structural``, decides which fields
are kept (``pruning``), what stands in for absent ones (``defaulting``), and whether a value is
valid (``openapi``, ``listtype``, ``objectmeta``); ``definition`` says what is wrong with the schema
itself. Rules in CEL are in ``apimachinery.cel``; metadata, names, versions and storage elsewhere.
"""
