"""Server-side apply: typed merging, and who owns which field.

``fieldmanager`` is the door: ``update`` after every other write, ``apply`` for apply patches. Below
it are the typed values (``typed``, ``compare``, ``merge``), the rules of ownership (``updater``),
the entries of ``metadata.managedFields`` (``entries``) and their view through scale (``scale``). It
is told the time and a kind's schema; it knows neither requests nor storage, and it does not
default, prune or validate objects.
"""
