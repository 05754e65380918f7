"""The room of consensus between members: a ``member.Proposer`` that agrees, then applies."""
