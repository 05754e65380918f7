"""The API server: a request goes in, an answer or a stream of events comes out.

What it is: authentication to storage, in upstream's order and words; `server.APIServer` is the
door.  What it is not: the kinds themselves (`registry`), the rules of objects in general
(`apimachinery`), HTTP (`transports`).
"""
