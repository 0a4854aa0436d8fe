"""Performance facts beside each tool in a vector store, and choosing tools by them."""

from .artifact import Artifact, NewArtifact
from .breaker import CircuitBreaker
from .catalogue import from_functions, from_json_lines, from_langchain, from_mcp
from .live import LiveStatistics
from .ranking import Ranked, rank
from .stores import open_store
from .toolstore import ToolStore
from .utility import Weighing

__all__ = [
    "Artifact",
    "CircuitBreaker",
    "LiveStatistics",
    "NewArtifact",
    "Ranked",
    "ToolStore",
    "Weighing",
    "from_functions",
    "from_json_lines",
    "from_langchain",
    "from_mcp",
    "open_store",
    "rank",
]
