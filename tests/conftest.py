"""Settings for every test; the environment's come first, because torch and matplotlib read it when imported."""

import os
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take seconds on a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist uses the cores
os.environ.setdefault("MPLBACKEND", "Agg")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts background jobs; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis.internal.conjecture.engine as engine
from hypothesis import settings

engine.MAX_SHRINKING_SECONDS = 20  # an example that fails is shown soon; hypothesis would take five minutes
settings.register_profile("test", deadline=None, derandomize=True, print_blob=True)  # the same examples everywhere
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("explore" if "EXAMPLES" in os.environ else "test")
