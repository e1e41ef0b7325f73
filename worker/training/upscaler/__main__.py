"""`python -m worker.training.upscaler`: the program that `retouch train-upscaler` starts."""

from worker.training.upscaler.main import main

raise SystemExit(main())
