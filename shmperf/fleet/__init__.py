"""Past one machine: what many nodes record, through NATS JetStream."""
