"""``shmperf rank``: the tools for a task, fitting, reliable and fast ones first."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shmperf.rag.retrieval import Question, retrieve
from shmperf.views import terminal

from .arguments import add_reader, answers_for, positive, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("query", metavar="QUERY", help="what is to be done, in words")
    parser.add_argument("--k", type=positive, default=10, metavar="N", help="candidates (10)")
    parser.add_argument(
        "--latency-budget", type=float, metavar="S", help="what halves a tool's utility (1)"
    )
    parser.add_argument("--gamma", type=float, metavar="G", help="how much latency counts (1)")
    parser.add_argument("--gate", type=float, metavar="D", help="stay so close to the best match")
    parser.add_argument("--explore", choices=("thompson",), help="try what is little known")
    parser.add_argument("--mode", choices=("utility", "similarity", "additive"), default="utility")
    parser.add_argument("--store", metavar="FILE", help="the tool store (default: of the storage)")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    wanted = {"latency_budget_s": given.latency_budget, "gamma": given.gamma, "gate": given.gate}
    question = Question(
        given.query,
        given.k,
        {key: value for key, value in wanted.items() if value is not None}
        | {"explore": given.explore, "mode": given.mode},
    )
    answers = answers_for(given)
    ranked = retrieve(question, given.store, answers.storage, answers.options, answers.session)
    return show(given, ranked, terminal.ranking)
