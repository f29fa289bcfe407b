"""Where events travel: topic specs, namespaces, and plan/apply against a cluster."""
