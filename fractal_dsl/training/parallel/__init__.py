"""Training with the processes that torchrun started."""
