"""`python -m worker.engine.built`: what `retouch build-engine` starts."""

from worker.engine.built.command import main

raise SystemExit(main())
