"""/metrics of a council: every figure that a rule needs is there, and what cannot be known is absent, not zero."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said
from tests.real.components import require

PRICED = {"local": {"price": {"request": 0.3}}}
GPU_LIBRARY = """
typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
static int handles[2];
int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) { *handle = &handles[index]; return 0; }
int nvmlDeviceGetUtilizationRates(void *handle, Utilization *found) {
  if (handle == &handles[1]) return 3; /* NVML_ERROR_NOT_SUPPORTED, as for a GPU that is cut into instances */
  found->gpu = 7; found->memory = 1; return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, Memory *found) {
  found->total = 1000; found->used = 250; found->free = 750; return 0;
}
"""
SHOW = """
from prometheus_client import CollectorRegistry, generate_latest
from council.monitors.gpus import Gpus
registry = CollectorRegistry()
registry.register(Gpus())
print(generate_latest(registry).decode(), end="")
"""


def shown(ground: Ground) -> str:
    return ground.http().get("/metrics").text


def ask(ground: Ground, **more: Any) -> Any:
    return ground.client().chat.completions.create(model="council", messages=MESSAGES, max_tokens=5, **more)


def test_each_budget_shows_its_limit_and_what_is_gone_and_whom_it_turned_away(tmp_path: Path) -> None:
    budget = {"day": 5, "routes": {"council": 4}, "tenants": {"local": 3}, "pools": {"main": 0.5, "canary": 2}}
    with council(tmp_path, "local", backend=PRICED, budget=budget) as ground:
        ask(ground)
        refused = ground.http().post("/v1/chat/completions", json={"model": "council", "messages": MESSAGES})
        assert refused.status_code == 429
        limits = {("day", ""): 5, ("route", "council"): 4, ("tenant", "local"): 3, ("pool", "main"): 0.5}
        for (scope, name), limit in limits.items():
            labels = f'{{scope="{scope}",whose="{name}"}}'
            assert ground.figure("council_budget_limit_usd" + labels) == limit
            assert ground.figure("council_budget_spent_usd" + labels) == pytest.approx(0.3)
        assert ground.figure('council_budget_limit_usd{scope="pool",whose="canary"}') == 2
        assert ground.figure('council_budget_spent_usd{scope="pool",whose="canary"}') == 0
        assert ground.figure('council_budget_refusals_total{scope="pool",whose="main"}') == 1
        assert '\ncouncil_budget_refusals_total{scope="route",whose="council"} 0.0' in shown(ground)


def test_a_ledger_that_cannot_be_read_is_said_and_takes_no_other_figure_away(tmp_path: Path) -> None:
    with council(tmp_path, "local", budget={"day": 5}) as ground:
        assert ground.figure("council_budget_readable") == 1
        ledger = tmp_path / "state" / "council.db"
        for file in ledger.parent.glob("council.db*"):
            with file.open("r+b") as opened:
                opened.write(b"\xff" * file.stat().st_size)
        text = shown(ground)
        assert "\ncouncil_budget_readable 0.0" in text
        assert "council_budget_spent_usd{" not in text
        assert "process_resident_memory_bytes " in text


def test_a_stream_is_measured_to_its_first_content_and_counted_when_it_breaks(tmp_path: Path) -> None:
    with council(tmp_path, "local") as ground:
        assert [chunk for chunk in ask(ground, stream=True)]
        assert ground.figure('council_first_content_seconds_count{route="council"}') == 1
        ask(ground)
        assert ground.figure('council_first_content_seconds_count{route="council"}') == 1
        assert ground.figure('council_request_seconds_count{route="council"}') == 2
        assert ground.figure('council_streams_broken_total{route="council",stage="local"}') == 0
        ground.servers["local"].says = lambda body: Said("one two three", breaks_after=2)
        request = {"model": "council", "messages": MESSAGES, "stream": True}
        assert '"error"' in ground.http().post("/v1/chat/completions", json=request).text
        assert ground.figure('council_streams_broken_total{route="council",stage="local"}') == 1
        assert ground.figure("council_requests_in_flight") == 0


def test_a_backend_that_is_left_alone_shows(tmp_path: Path) -> None:
    with council(tmp_path, "local", backend={"local": {"breaker": {"failures": 1, "open_seconds": 3600}}}) as ground:
        assert ground.figure('council_backend_left_alone{backend="local"}') == 0
        ground.servers["local"].says = lambda body: Said(status=500)
        request = {"model": "council", "messages": MESSAGES}
        assert ground.http().post("/v1/chat/completions", json=request).status_code >= 500
        assert ground.figure('council_backend_left_alone{backend="local"}') == 1


def test_the_canary_shows_its_weight_and_its_share_only_where_there_is_one(tmp_path: Path) -> None:
    with council(tmp_path / "without", "old") as ground:
        assert "council_canary" not in shown(ground)
    stages = [{"name": "local", "backends": {"old": 1}}]
    canary = {"main": "old", "backend": "new"}
    with council(tmp_path / "with", "old", "new", stages=stages, canary=canary) as ground:
        assert "council_canary_share{" not in shown(ground)
        ground.http().put("/canary", json={"weight": 1, "because": "a test"}).raise_for_status()
        ask(ground)
        for name, value in (("weight", 1), ("share", 1), ("failing", 0)):
            assert f'\ncouncil_canary_{name}{{backend="new"}} {value:.1f}' in shown(ground)


def test_the_canarys_weight_is_shown_as_another_process_has_set_it(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "stages": [{"name": "local", "backends": {"old": 1}}],
        "canary": {"main": "old", "backend": "new"},
    }
    with council(tmp_path, "old", "new", **more) as idle, council(tmp_path, "old", "new", **more) as other:
        assert idle.figure('council_canary_weight{backend="new"}') == 0
        other.http().put("/canary", json={"weight": 0.25, "because": "a test"}).raise_for_status()
        assert idle.figure('council_canary_weight{backend="new"}') == 0.25


def gpu_figures(**environment: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return {name: float(value) for name, value in re.findall(r"^(council_gpu_\S+) (\S+)$", done.stdout, re.MULTILINE)}


def test_without_a_gpu_its_figures_are_absent(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    assert gpu_figures() == {}
    with council(tmp_path, "local") as ground:
        assert "council_gpu_" not in shown(ground)


def test_with_a_driver_each_gpu_shows_what_the_driver_says_of_it(tmp_path: Path) -> None:
    """The driver's library is a stand-in of C with the interface of the real one; the binding is NVIDIA's own."""
    compiler = shutil.which("cc")
    require("compiler", compiler is not None, "no C compiler")
    (tmp_path / "nvml.c").write_text(GPU_LIBRARY)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True, timeout=60)
    assert gpu_figures(LD_LIBRARY_PATH=str(tmp_path)) == {
        'council_gpu_utilization_ratio{gpu="0"}': 0.07,
        'council_gpu_memory_used_bytes{gpu="0"}': 250,
        'council_gpu_memory_used_bytes{gpu="1"}': 250,
        'council_gpu_memory_total_bytes{gpu="0"}': 1000,
        'council_gpu_memory_total_bytes{gpu="1"}': 1000,
    }
