"""Training with the processes that torchrun has started."""
