"""8-bit nets by ONNX Runtime's static quantization and by torchao's pt2e for x86, beside float32, at batch 1.

    python benchmarks/quantization.py [--net digits|fractalnet20] [--nets column3,whole] [--ways onnx] [--threads 1]
                                      [--folder DIR]

The nets are those of `deploy.py`, which are made if they are not in --folder. Both libraries choose their ranges by the
same 256 inputs: training images, or random ones for the untrained FractalNet-20. ONNX Runtime runs its own files; pt2e
nets run as Inductor compiles them, with constants folded, for batches of 1 only: with a dynamic batch, its quantized
convolutions fail (torch 2.13). Milliseconds are medians over 50 inputs, each several times. `agreement`
is the share of inputs with the answer of the float32 module.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deploy import origin_of

from fractal_dsl.deploy.export.int8 import quantized
from fractal_dsl.deploy.export.onnx import fastest_onnx, plain_onnx, save_onnx
from fractal_dsl.deploy.measure import Job, latency
from fractal_dsl.deploy.nets import ends_of, net_names, plain_net
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.deploy.runtimes import Arrays, LoadedNet, load_exported
from fractal_dsl.deploy.samples import samples_of


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=("digits", "fractalnet20"), default="digits")
    parser.add_argument("--nets", help="by default all columns and the whole net")
    parser.add_argument("--ways", default="onnx,pt2e", help="libraries, separated by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fractal_dsl-benchmark")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    origin = origin_of(options.net, options.folder)
    tests, training = inputs_of(origin)
    ways: dict[str, Callable[[Any, Arrays], LoadedNet]] = {}
    if "onnx" in options.ways.split(","):
        ways["onnx float32"] = lambda net, inputs: by_onnx(net, origin, None, options.threads)
        ways["onnx int8"] = lambda net, inputs: by_onnx(net, origin, inputs, options.threads)
    if "pt2e" in options.ways.split(","):
        if find_spec("torchao") is None:
            print("skipped: pt2e needs torchao: pip install torchao")
        else:
            ways["pt2e int8"] = by_pt2e
    job = Job("", "", [], options.threads, 1, 0.9, [], [])
    for name in options.nets.split(",") if options.nets else net_names(origin.model.join_graph, None, confident=False):
        net = plain_net(origin.model, name)
        with torch.inference_mode():
            right = net(torch.from_numpy(tests[0])).argmax(1).numpy()
        for way, make in ways.items():
            run = make(net, training)
            same = np.mean([run((tests[0][i : i + 1],), 0.0)[0][0].argmax(1)[0] == y for i, y in enumerate(right)])
            print(f"{name:<8} {way:<13} {latency(run, tests, job).ms:8.3f} ms  agreement {same:7.2%}", flush=True)


def inputs_of(origin: Origin) -> tuple[Arrays, Arrays]:
    """Inputs to measure with, and those that choose the ranges."""
    if origin.trained is not None:
        samples = samples_of(origin, lambda line: None, int8=True, allow_python=False)
        assert samples.training is not None
        return samples.tests, samples.training
    rng = np.random.default_rng(0)
    shape = origin.model.input.shape
    tests, training = (rng.standard_normal((n, *shape)).astype(np.float32) for n in (50, 256))
    return (tests,), (training,)


def by_onnx(net: Any, origin: Origin, calibration: Arrays | None, threads: int) -> LoadedNet:
    """The net in ONNX Runtime as `deploy` exports it, in 8 bits if there are inputs for the calibration."""
    if calibration is None:
        proto, _ = fastest_onnx(net, ends_of(origin.model), 1, threads)
    else:
        proto = plain_onnx(net, ends_of(origin.model))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        save_onnx(proto if calibration is None else quantized(proto, calibration), path)
        return load_exported("onnx", str(path), [], threads)


def by_pt2e(net: Any, calibration: Arrays) -> LoadedNet:
    """The net quantized for x86 by pt2e, and compiled by Inductor."""
    quantize: Any = import_module("torchao.quantization.pt2e.quantize_pt2e")
    x86: Any = import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    one = torch.from_numpy(calibration[0][:1])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = quantize.prepare_pt2e(torch.export.export(net, (one,)).module(), quantizer)
        for row in calibration[0]:
            prepared(torch.from_numpy(row[None]))
        converted = quantize.convert_pt2e(prepared)
        import_module("torch._inductor.config").freezing = True
        compiled: Any = torch.compile(converted)
        compiled(one)

    def run(x: Arrays, confidence: float) -> tuple[Arrays, int]:
        with torch.no_grad():
            return (compiled(torch.from_numpy(x[0])).numpy(),), 0

    return run


if __name__ == "__main__":
    main()
