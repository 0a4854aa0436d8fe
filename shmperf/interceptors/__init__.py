"""Code around every tool call: a chain of interceptors, and the three that are in it."""

from .bugcatcher import BugCatcherInterceptor
from .chain import InterceptorChain, InterceptorPriority, ToolInterceptor
from .everywhere import get_global_interceptor_chain, intercept_class, intercept_tool_call
from .perfcatcher import PerfCatcherInterceptor
from .tracking import OptimizedPerfTrackerInterceptor

__all__ = [
    "BugCatcherInterceptor",
    "InterceptorChain",
    "InterceptorPriority",
    "OptimizedPerfTrackerInterceptor",
    "PerfCatcherInterceptor",
    "ToolInterceptor",
    "get_global_interceptor_chain",
    "intercept_class",
    "intercept_tool_call",
]
