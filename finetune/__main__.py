import sys

from finetune.cli import main
from hmdb.memory import keep_freed_memory

keep_freed_memory()
sys.exit(main())
