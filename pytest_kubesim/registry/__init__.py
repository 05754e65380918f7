"""The kinds: for each, how it is defaulted, prepared, validated and shown, under upstream's names.

`rest` says what a kind is (data) and what it may hook into (a strategy); `generic` makes a
`Resource` of every kind that Kubernetes serves from the generated data; `<group>/<kind>.py` holds
what is particular to one kind, as `pkg/registry/<group>/<kind>/strategy.go`, `pkg/apis/<group>/
<version>/defaults.go`, `pkg/apis/<group>/validation` and `pkg/printers` do upstream.  Functions of
their input: nothing here stores, sends or waits.
"""
