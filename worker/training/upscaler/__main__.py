"""`python -m worker.training.upscaler`: what `retouch train-upscaler` starts."""

from worker.training.upscaler.main import main

raise SystemExit(main())
