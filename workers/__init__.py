"""The streaming worker: Kafka, Ray Serve and the command line around the pipeline. Importing it loads neither."""
