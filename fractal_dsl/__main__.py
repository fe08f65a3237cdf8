"""``python -m fractal_dsl``: the command line."""

from fractal_dsl.cli import main

if __name__ == "__main__":
    main()
