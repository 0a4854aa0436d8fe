"""Who answers what people ask: a collector, or a storage directory at rest."""
