"""`python -m sixgig` is `sixgig`."""

import sys

from sixgig.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
