"""`python -m tests.benchmarks [--out FOLDER] [NAME …]`: take the figures, print them, write them as JSON."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    accepting,
    catalogue,
    engine,
    gateway,
    healing,
    kubernetes,
    previewing,
    recalling,
    replicas,
    running,
    storm,
)
from tests.benchmarks.measuring import Benchmark, Ratio, Result, write

BENCHMARKS = (
    Benchmark("engine", "the durable engine and a bare commit on SQLite", engine.measure),
    Benchmark("webhook", "an alert's POST to its answer and to the first call", accepting.first_call),
    Benchmark("hanging", "the webhook while the platform never answers", accepting.while_hanging),
    Benchmark("intake", "alerts accepted durably over HTTP, beside a bare route with a commit", accepting.rates),
    Benchmark("runs", "incidents healed, beside the bare durable engine", running.rates),
    Benchmark("storm", "10,000 alerts on 1,000 targets at once, every one accounted for", storm.measure),
    Benchmark("replicas", "one, two and four processes on one PostgreSQL", replicas.measure),
    Benchmark("previews", "previews in process and over HTTP", previewing.measure),
    Benchmark("lasting", "memory and state after ten thousand incidents", running.lasting),
    Benchmark("growth", "rows and bytes that a healed incident leaves, table by table", running.growth),
    Benchmark("catalogue", "loading 10,000 verbs and 1,000 targets, beside yaml.load", catalogue.measure),
    Benchmark("kubernetes", "a thousand Deployments, changes beside the SDK, what an import costs", kubernetes.measure),
    Benchmark("gateway", "what the council adds to a model, beside LiteLLM and the barest gateway", gateway.measure),
    Benchmark(
        "recall", "recall from 10,000 and 100,000 facts by words and by vectors, beside FAISS", recalling.measure
    ),
    Benchmark("healing", "an alert's POST to the restarted container, beside the raw SDK", healing.measure),
)
"""Everything that `make bench` takes, in this order."""


def show(results: list[Result], console: Console) -> None:
    """Print the figures as one table, what is absent with its reason; then each figure beside its baseline."""
    table = Table("benchmark", "figure", "count", "median", "p95", "p99", "maximum")
    for result in results:
        for figure in result.figures:
            values = (figure.median, figure.p95, figure.p99, figure.maximum)
            table.add_row(
                result.name, figure.name, str(figure.count), *(f"{value:.2f} {figure.unit}" for value in values)
            )
        for name, value in result.facts.items():
            table.add_row(result.name, name, "", str(value))
        if result.absent:
            table.add_row(result.name, f"absent: {result.absent}")
    console.print(table)
    for result in results:
        for item in result.ratios:
            console.print(f"{result.name}: {item.name}: {_beside(item)}", soft_wrap=True)


def _beside(item: Ratio) -> str:
    shown = f"{item.value:,.1f} {item.unit}, {item.ratio:.2f} times {item.baseline} ({item.beside:,.1f} {item.unit})"
    if item.goal is None:
        return shown
    return f"{shown}; goal {item.goal:,.1f} {item.unit}, {'reached' if item.reached else 'missed'}"


def main() -> None:
    """Run the named benchmarks, or all."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for the JSON files")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all when none is given")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(names)):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}")
    console = Console()
    results = []
    for benchmark in BENCHMARKS:
        if arguments.names and benchmark.name not in arguments.names:
            continue
        console.print(f"{benchmark.name}: {benchmark.summary}")
        with tempfile.TemporaryDirectory(prefix="uici-bench-") as folder:
            result = benchmark.run(Path(folder))
        console.print(f"  {write(result, arguments.out)}")
        results.append(result)
    show(results, console)


if __name__ == "__main__":
    main()
