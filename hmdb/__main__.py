import sys

from hmdb.cli import main
from hmdb.machine import keep_freed_memory

keep_freed_memory()
sys.exit(main())
