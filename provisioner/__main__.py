"""`python -m provisioner` is the `provision` command."""

from provisioner.cli.main import main

if __name__ == "__main__":
    main()
