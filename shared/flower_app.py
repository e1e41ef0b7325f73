"""What Flower connects by: the fleet's broker, with its prefix and its authorities."""

from shared.ledger.queue import make_celery
from shared.settings import load_settings

app = make_celery(load_settings(), "")
