"""`python -m worker.engine.built`: the program that `retouch build-engine` starts."""

from worker.engine.built.command import main

raise SystemExit(main())
