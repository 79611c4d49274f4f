"""What the disk under the log does by itself: one fdatasync."""

import os
import time
from pathlib import Path

from apex_fast.cli.bench.measurement import Measurement, quantile

NAME = "fdatasync"
RECORD_BYTES = 256


def fdatasync_times_s(folder: Path, samples: int) -> list[float]:
    """Ordered times of a write of 256 bytes and its fdatasync, one at a time, in a preallocated file."""
    path = folder / "fdatasync"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, samples * RECORD_BYTES)
        os.fsync(descriptor)
        times_s: list[float] = []
        for sample in range(samples):
            begin = time.perf_counter()
            os.pwrite(descriptor, b"\x01" * RECORD_BYTES, sample * RECORD_BYTES)
            os.fdatasync(descriptor)
            times_s.append(time.perf_counter() - begin)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times_s)


def fdatasync(folder: Path, samples: int = 300) -> Measurement:
    """The disk at this moment; the rate is that of one writer that waits each time."""
    times_s = fdatasync_times_s(folder, samples)
    p50_s = quantile(times_s, 0.5)
    return Measurement(
        name=NAME,
        unit="sync",
        size=RECORD_BYTES,
        concurrency=1,
        rate_per_s=1 / p50_s,
        seconds=sum(times_s),
        durability="fdatasync",
        p50_ms=p50_s * 1e3,
        p99_ms=quantile(times_s, 0.99) * 1e3,
    )
