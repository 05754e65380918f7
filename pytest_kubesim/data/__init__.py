"""Facts of each Kubernetes version, generated: schemas, discovery, protobuf numbers, OpenAPI.

Nothing here behaves: no defaulting, no validation, no decoding. ``generate`` writes the files from
the Go module, ``load`` and ``openapi`` read them back, lazily and once.
"""
