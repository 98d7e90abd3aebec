"""`python -m app.cli`: the same as the command `sizer`."""

from app.cli.main import main

if __name__ == "__main__":  # processes of a pool import it again
    main()
