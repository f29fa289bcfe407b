"""Documents over HTTP: uploaded, followed until they are searchable, taken away."""
