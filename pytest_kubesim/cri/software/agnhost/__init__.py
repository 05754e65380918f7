"""agnhost, the image of Kubernetes' own tests: one program with many subcommands.

Follows `test/images/agnhost` of Kubernetes, subcommand by subcommand.
"""
