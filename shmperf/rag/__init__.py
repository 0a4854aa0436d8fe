"""Performance facts beside each tool in a vector store."""

from .artifact import Artifact, NewArtifact
from .catalogue import from_functions, from_json_lines, from_langchain, from_mcp
from .stores import open_store
from .toolstore import ToolStore

__all__ = [
    "Artifact",
    "NewArtifact",
    "ToolStore",
    "from_functions",
    "from_json_lines",
    "from_langchain",
    "from_mcp",
    "open_store",
]
