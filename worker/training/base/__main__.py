"""`python -m worker.training.base`: the program that `retouch train-base` starts."""

from worker.training.base.main import main

raise SystemExit(main())
