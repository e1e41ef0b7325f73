"""Tests of the service, its worker and its clients."""

import os

# Workers that tests start have no processor time to compile for.
os.environ.setdefault("RETOUCH_COMPILE", "off")
