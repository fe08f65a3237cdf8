"""Runtimes use the threads that they are asked to use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.deploy import targets
from fractal_dsl.deploy.children import Exporter
from fractal_dsl.deploy.work import Export, Exports
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import save_artifact

WIDE = """
net Wide(image: f32[16, 32, 32]) -> f32[10]
    = (conv2d(64, 3, padding=1) >> relu) ** 3 >> avgpool2d(32) >> flatten >> linear(10)
"""
PROBE = """
import sys
from time import perf_counter, process_time
import numpy as np
from fractal_dsl.deploy.runtimes import load_exported

target, file, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
run = load_exported(target, file, [], threads)
x = (np.zeros((8, 16, 32, 32), np.float32),)
for _ in range(3):
    run(x, 1.0)
wall, cpu = perf_counter(), process_time()
while perf_counter() - wall < 1:
    run(x, 1.0)
print((process_time() - cpu) / (perf_counter() - wall))
if target == "executorch":
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count
    print(_threadpool_get_thread_count())
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("threads") / "net"
    compiled = compile_text(WIDE)
    save_artifact(compiled, build(compiled), place)
    return place


def probed(target: str, file: Path, threads: int) -> list[float]:
    words = [sys.executable, "-c", PROBE, target, str(file), str(threads)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return [float(line) for line in done.stdout.split()[-2:]]


@pytest.mark.slow
@pytest.mark.parametrize("target", [*targets.TARGETS])
def test_one_thread_takes_no_more_cpu_time_than_wall_time(net: Path, target: str) -> None:
    if reason := targets.TARGETS[target].missing():
        pytest.skip(reason)
    file = net.parent / f"whole{targets.TARGETS[target].suffix}"
    exports = [Export("whole", target, "float32", str(file))]
    job = Exports(str(net), MAX_LAYERS, False, 8, 1, None, exports)
    ((_, done),) = Exporter(job, net.parent)
    assert done.error is None
    assert probed(target, file, 1)[0] < 1.1
    if target == "executorch":
        assert [probed(target, file, threads)[1] for threads in (1, 3)] == [1, 3]
