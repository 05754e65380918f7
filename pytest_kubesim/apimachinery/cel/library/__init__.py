"""The functions that expressions may call.

A module per library, each with its table ``FUNCTIONS``: those of CEL itself (``standard``,
``conversions``, ``times``), cel-go's extensions that Kubernetes takes in, and Kubernetes' own.
``kubernetes`` puts them together. What calls cost is in ``costs``.
"""
