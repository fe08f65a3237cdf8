"""``python -m fractal_dsl``: the command line."""

from fractal_dsl.cli import run

if __name__ == "__main__":
    run()
