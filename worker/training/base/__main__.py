"""`python -m worker.training.base`: what `retouch train-base` starts."""

from worker.training.base.main import main

raise SystemExit(main())
