"""`python -m app.cli`: the same as the command `sizer`."""

from app.cli.main import main

main()
