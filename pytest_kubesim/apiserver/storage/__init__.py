"""How objects lie in etcd, and how they are watched; the only room that speaks to `etcd`."""
