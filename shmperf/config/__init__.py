"""Every option once, where its file lies, and reading that file."""
