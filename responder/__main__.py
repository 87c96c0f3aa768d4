"""`python -m responder`: the same as the command `responder`."""

from responder.cli import main

if __name__ == "__main__":
    main(prog_name="responder")
