"""`python -m provisioner.serve` is `provision serve`."""

import sys

from provisioner.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["serve"]
    main()
