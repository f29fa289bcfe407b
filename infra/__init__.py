"""What ragline runs on: the local stack, container images, dashboards."""
