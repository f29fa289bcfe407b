"""What happened to a request, told from its records in Kafka alone."""
