"""The room of consensus between etcd members: a ``member.Proposer`` that agrees before it applies."""
