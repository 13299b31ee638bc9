"""On what was measured: machine, versions, commit. No names, no paths."""

import json
import os
import platform
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.cluster import PRODUCTS, Cluster
from bench.systems import POSTGRAPHILE, PROCESSES, WARM_UP, node
from service.settings import ROOT

PACKAGES = ("aiohttp", "uvloop", "SQLAlchemy", "asyncpg", "msgspec", "fastapi", "uvicorn")


async def about(cluster: Cluster, *, seconds: float, rounds: int) -> dict[str, Any]:
    """What a reader must know to compare this run with another."""
    return {
        "taken": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "HEAD").strip(),
        "changed": bool(_said("git", "-C", str(ROOT), "status", "--porcelain", "-uno").strip()),
        "machine": {"cores": os.cpu_count(), "cpu": _cpu(), "memory_gib": _memory()},
        "versions": {
            "python": platform.python_version(),
            "postgresql": await cluster.version(),
            "wrk": _said("wrk", "-v").partition("[")[0].strip(),
            "node": _said(node(), "--version").strip(),
            "postgraphile": json.loads((POSTGRAPHILE / "package.json").read_text())["dependencies"][
                "postgraphile"
            ],
            **_packages(),
        },
        "settings": {
            "seconds": seconds,
            "rounds": rounds,
            "warm_up_seconds": WARM_UP,
            "products": PRODUCTS,
            "processes": PROCESSES,
        },
    }


def _packages() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text() if info.exists() else "", re.M)
    return found[1] if found else platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
