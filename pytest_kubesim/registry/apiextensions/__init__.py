"""The hooks of CustomResourceDefinitions: what a definition must be like.

Not here: what is served for a definition (`apiserver.apiextensions`), and the rules of the schemas
in it (`apimachinery.structural`).
"""
