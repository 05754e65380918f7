"""The scheduler's plugins, one file each, named after the plugin.

A plugin knows `framework`, the records it is handed and nothing of its siblings; a user's plugin is
a peer of these.
"""
