"""From a segment's media to aligned features. Knows video and messages; neither Kafka's client nor Ray."""
