"""Bulk LLM clients side by side: requests/s, client CPU, share of the ideal, and what a kill costs, all against one server on the same two cores.

The server (bench/peers/server.py) holds each request for 200 ms or 2 s and gives a fixed answer; it is pinned to the first core and uses about a tenth of it.
Clients are not pinned: each may use both cores, as it would beside a server elsewhere. All keep 256 requests in flight, where they can; prompts have about 500
tokens and are all different, answers about 300. Peers run in environments of their own under .bench-env, which are made when they are missing.

Steady: from the first request to the last answer, as the server saw them, and the CPU of the client's processes in that time; of boostqa after a warm-up
of 512 requests, as its JVM would have from the steps before. Total: the whole command, with
the start of Python and Spark and the commit. The ideal is requests x latency / 256. A kill: SIGKILL to all processes of the client when the server has
half of the requests; then it is started again on the same folder.

boostqa is `Ledger.ask` as conf/local.yaml has it, with `llm.workers: 2` for two cores and `max_in_flight: 256`. Its requests ask for JSON by schema and its
answers are parsed, as in a real run; the others send and read plain text. The bare loop and AsyncOpenAI only keep the answers in memory. openaivec would
put several rows into a request; here it is told to put one, as all others do.

Slow clients get fewer requests, so that each run takes about 90 s at most. Expected figures are in bench/batch_clients.py, written before the first look.

    make bench-llm_batches                                       about 20 minutes; the first time some more for the environments
    make bench-llm_batches ARGS="--quick --only bare,boostqa"    a few hundred requests each, and no result file
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_clients import CLIENTS, OWN, TOLD, Client, command, environment
from batch_server import Server, write_prompts
from common import goal, write_result
from environments import NotInstalledError, versions_in
from processes import Ran, run_client

IN_FLIGHT = 256
LIMIT_S = 300.0
QUICK, QUICK_SLOW = 600, 60
Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    server: Server
    folder: Path
    quick: bool

    def count(self, client: Client, full: int) -> int:
        """Requests of a run; fewer for a try."""
        tried = QUICK_SLOW if client.name == "naive" else QUICK
        return min(full, tried) if self.quick else full

    def start(self, client: Client, count: int, home: Path, kill_at: int = 0) -> Ran:
        """Runs a client in its folder; kills it when the server has `kill_at` requests."""
        home.mkdir(exist_ok=True)
        prompts = write_prompts(self.folder, count)
        line = command(client, self.server.url, prompts, IN_FLIGHT, home)
        end_when = (lambda: self.server.stats()["requests"] >= kill_at) if kill_at else None
        return run_client(line, environment(client), LIMIT_S, end_when)


def speed(bench: Bench, client: Client, latency_s: float) -> Row:
    """Measures one client at one latency."""
    count = bench.count(client, client.requests[latency_s])
    bench.server.reset(latency_s)
    cpu_before = bench.server.stats()["cpu_s"]
    ran = bench.start(client, count, bench.folder / f"{client.name}-{latency_s:g}")
    seen = bench.server.stats()
    if ran.exit_code != 0 or ran.told.get("answers") != count:
        raise RuntimeError(
            f"exit code {ran.exit_code}, {ran.told.get('answers', 'no')} answers of {count}: {ran.words}"
        )
    steady = seen["last"] - seen["first"]
    cpu = ran.cpu_between(seen["first"], seen["last"])
    figures = {
        "requests_per_s": count / steady,
        "total_requests_per_s": count / ran.seconds,
        "cpu_ms_per_request": 1000 * cpu / count,
        "total_cpu_ms_per_request": 1000 * ran.cpu_s / count,
        "share_of_ideal": count * latency_s / IN_FLIGHT / steady,
        "total_share_of_ideal": count * latency_s / IN_FLIGHT / ran.seconds,
        "steady_s": steady,
        "total_s": ran.seconds,
        "mean_in_flight": seen["seconds"] / steady,
        "server_cpu_share": (seen["cpu_s"] - cpu_before) / ran.seconds,
    }
    counts = {"peak_in_flight": seen["peak"], "sent": seen["requests"], "repeated": seen["requests"] - seen["distinct"]}
    same = {"what": "speed", "client": client.name, "latency_s": latency_s, "requests": count, "in_flight": IN_FLIGHT}
    return {**same, **{name: float(f"{value:.4g}") for name, value in figures.items()}, **counts, **ran.told}


def killed(bench: Bench, client: Client) -> Row:
    """Kills a client at half, starts it again, and counts what was asked twice."""
    count = bench.count(client, client.kill_requests)
    home = bench.folder / f"{client.name}-killed"
    bench.server.reset(0.2)
    first = bench.start(client, count, home, kill_at=count // 2)
    if first.exit_code is not None:
        raise RuntimeError(f"it ended before the kill with exit code {first.exit_code}: {first.words}")
    at_kill = bench.server.stats()["requests"]
    second = bench.start(client, count, home)
    seen = bench.server.stats()
    if second.exit_code != 0:
        raise RuntimeError(f"after the kill exit code {second.exit_code}: {second.words}")
    same = {"what": "kill", "client": client.name, "latency_s": 0.2, "requests": count, "in_flight": IN_FLIGHT}
    repeated = seen["requests"] - seen["distinct"]
    return {**same, "sent_before_kill": at_kill, "sent": seen["requests"], "repeated": repeated, **second.told}


def measure(bench: Bench, client: Client) -> list[Row]:
    """All rows of a client; where something does not work, a row with the reason."""
    jobs: list[tuple[str, float]] = [("speed", latency) for latency in client.requests]
    jobs += [("kill", 0.2)] if client.kill_requests else []
    rows: list[Row] = []
    for what, latency in jobs:
        try:
            row = speed(bench, client, latency) if what == "speed" else killed(bench, client)
        except (RuntimeError, NotInstalledError, OSError) as error:
            row = {"what": what, "client": client.name, "latency_s": latency, "failed": str(error)}
        expected = {"speed": {0.2: "per_s", 2.0: "share"}.get(latency, ""), "kill": "repeated"}[what]
        row |= {"client_is": client.what, "expected": client.expected.get(expected)}
        print(shown(row), flush=True)
        rows.append(row)
    return rows


HEAD = f"{'client':10}{'':8}{'requests':>9}{'req/s':>8}{'total':>8}{'CPU ms':>8}{'total':>8}{'ideal':>7}{'total':>7}{'in flight':>10}{'again':>7}"


def shown(row: Row) -> str:
    """A row as a line of the table."""
    what = (
        f"{row['client']:10}{row['latency_s']:>4g} s  " if row["what"] == "speed" else f"{row['client']:10}{'kill':8}"
    )
    if "failed" in row:
        return f"{what} FAILED: {row['failed']}"
    if row["what"] == "kill":
        return f"{what}{row['requests']:>9,}{'':63}{row['repeated']:>7,}"
    return (
        f"{what}{row['requests']:>9,}{row['requests_per_s']:>8,.0f}{row['total_requests_per_s']:>8,.0f}"
        f"{row['cpu_ms_per_request']:>8.2f}{row['total_cpu_ms_per_request']:>8.2f}"
        f"{row['share_of_ideal']:>7.0%}{row['total_share_of_ideal']:>7.0%}{row['mean_in_flight']:>10.0f}{row['repeated']:>7,}"
    )


def goals_of(rows: list[Row]) -> list[Row]:
    """The goals whose two sides were both measured."""
    by = {(row["client"], row["latency_s"]): row for row in rows if row["what"] == "speed" and "failed" not in row}

    def compare(name: str, peer: str, latency: float, least: float, figure: str = "requests_per_s") -> list[Row]:
        ours, theirs = by.get(("boostqa", latency)), by.get((peer, latency))
        if ours is None or theirs is None:
            return []
        return [goal(name, round(ours[figure] / theirs[figure], 3), least, "times", at_most=False)]

    found = [
        *compare("steady requests/s at 2 s, of the bare loop's", "bare", 2.0, 0.95),
        *compare("steady requests/s at 200 ms, of the bare loop's", "bare", 0.2, 0.70),
        *compare("steady requests/s at 200 ms, of Curator's", "curator", 0.2, 2.0),
        *compare("steady requests/s at 200 ms, of openaivec's", "openaivec", 0.2, 5.0),
    ]
    for latency in (0.2, 2.0):
        ours, engine = by.get(("boostqa", latency)), by.get(("engine", latency))
        for figure, which in (
            ("steady_s", "steady state"),
            ("ask_s", "with the first wave's start and the last commit"),
        ):
            if ours and engine:
                more = round(100 * (ours[figure] / engine[figure] - 1), 1)
                found.append(
                    goal(f"ledger and write-ahead at {latency:g} s, {which}: time over the engine's", more, 10, "%")
                )
    return found


def main() -> int:
    """Measures, and writes the result, of some clients to a file of their own; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="bulk LLM clients against one server")
    parser.add_argument("--only", default="", help=f"clients, by comma: {', '.join(client.name for client in CLIENTS)}")
    parser.add_argument("--quick", action="store_true", help="a few hundred requests each, for a try")
    args = parser.parse_args()
    wanted = [name for name in args.only.split(",") if name] or [client.name for client in CLIENTS]
    unknown = set(wanted) - {client.name for client in CLIENTS}
    if unknown:
        parser.error(f"no client {', '.join(sorted(unknown))}")
    # So that a bench that is told to end takes its clients with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{len(os.sched_getaffinity(0))} cores, {IN_FLIGHT} in flight\n{HEAD}", flush=True)
    with tempfile.TemporaryDirectory(prefix="batches-") as folder, Server(Path(folder)) as server:
        bench = Bench(server, Path(folder), args.quick)
        rows = [row for client in CLIENTS if client.name in wanted for row in measure(bench, client)]
    goals = goals_of(rows)
    used = sorted({client.environment for client in CLIENTS if client.name in wanted} - {OWN} | {"aiohttp"})
    rows += [{"what": "environment", "name": name, "versions": versions_in(name, TOLD)} for name in used]
    if args.quick:
        print(
            "a try: nothing is written",
            *[f"  {one['name']}: {one['value']:g} (goal {one['goal']:g})" for one in goals],
            sep="\n",
        )
        return 0
    return 0 if write_result("_".join(["llm_batches", *(wanted if args.only else [])]), rows, goals) else 1


if __name__ == "__main__":
    sys.exit(main())
