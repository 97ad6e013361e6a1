"""What `nvidia-smi` says of the job's GPUs, where there are any."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Optional


async def query(*fields: str) -> list[list[str]]:
    """A row for each GPU with those fields; none where there is no nvidia-smi or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    args = [f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    ids = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if ids and ids not in ("-1", "NoDevFiles"):
        # Without cgroups nvidia-smi shows the GPUs of others too.
        args.append(f"--id={ids}")
    process = await asyncio.create_subprocess_exec(
        program, *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 10)
    except asyncio.TimeoutError:
        process.kill()
        return []
    if process.returncode != 0:
        return []
    return [[c.strip() for c in line.split(",")] for line in out.decode("utf-8", "replace").splitlines() if line]


async def use() -> Optional[tuple[float, float]]:
    """Mean use in percent and memory in GiB over all GPUs of the job; None where nothing is known."""
    try:
        rows = await query("utilization.gpu", "memory.used")
        numbers = [(float(u), float(m)) for u, m in rows]
    except (OSError, ValueError):
        return None
    if not numbers:
        return None
    return sum(u for u, _ in numbers) / len(numbers), sum(m for _, m in numbers) / 1024


async def gigabytes() -> list[float]:
    """Memory of each GPU, in GB as its maker counts them; none where nothing is known."""
    try:
        return [float(total) * 2**20 / 1e9 for (total,) in await query("memory.total")]
    except (OSError, ValueError):
        return []


async def about() -> list[str]:
    """Name, memory and driver of each GPU, for the record."""
    try:
        return [", ".join(row) for row in await query("name", "memory.total", "driver_version")]
    except OSError:
        return []
