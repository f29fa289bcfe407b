"""What travels: events, headers, and the codec between them and Kafka records."""
