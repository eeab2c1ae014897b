import sys

from hmdb.cli import main

sys.exit(main())
