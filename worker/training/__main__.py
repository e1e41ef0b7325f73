"""`python -m worker.training`: what `retouch train` starts."""

from worker.training.main import main

raise SystemExit(main())
