"""`python -m worker.training`: the program that `retouch train` starts."""

from worker.training.main import main

raise SystemExit(main())
