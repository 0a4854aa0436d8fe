"""Performance facts beside each tool in a vector store."""
