"""The parts that the routes use, built once per process.

Owns opening and closing these parts in the right order. Knows nothing of HTTP.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from anyio import CapacityLimiter

from api.access.keys import Keyring
from api.access.places import Places
from api.access.rate import Rate, RateLimit
from api.access.shares import Shares
from api.access.tickets import Tickets
from api.intake.decoder import Decoders
from api.intake.images import Images
from api.intake.masks import Masks
from api.intake.quality_check import QualityGate
from api.jobs.capacity import Capacity
from api.jobs.fetching import Fetcher
from api.jobs.follow import Followers
from api.jobs.idempotency import Gate
from api.jobs.notes import Notes
from api.jobs.roster import Roster
from api.jobs.submission import Submissions
from api.webhooks.courier import Courier, make_courier
from api.wire.sentence import Sentence
from shared.base_defaults import base_defaults_of
from shared.bases import BASES, identify_base, name_base
from shared.blobs import BlobStore, open_blobs
from shared.ledger.fleet import Fleet
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.preview_queue import PreviewLine, open_line
from shared.ledger.queue import Hints, make_celery
from shared.ledger.reaper import Reaper
from shared.ledger.redis_client import connect
from shared.ledger.roster import ServedBase
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.loras.catalog import Catalog
from shared.loras.plans import known_modules
from shared.loras.sync import lora_sync
from shared.periodic import Periodic, note_failure
from shared.settings import Settings
from shared.upscalers.catalog import UpscalerCatalog

# Decoding is limited by cores, not by requests; the second decoder hides the first one's transfers.
DECODERS = 2
# Previews that one gateway waits for at a time; each occupies a sleeping thread.
PREVIEWS = 128
# Bodies that hold whole pictures in memory, at most a hundred megabytes each.
UNPACKED = 6
FIRST_SCAN_SECONDS = 1.0
# How soon LoRAs follow the bases that workers serve.
FAMILIES_SECONDS = 1.0
UPLOADS = Sentence("uploads in progress", "正在上传的图片")
FOLLOWED = Sentence("followers of jobs", "任务订阅")

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Services:
    """The parts of one gateway. All of them are safe to share between threads."""

    settings: Settings
    roster: Roster
    store: JobStore
    blobs: BlobStore
    catalog: Catalog
    upscalers: UpscalerCatalog
    fleet: Fleet
    images: Images
    masks: Masks
    quality_gate: QualityGate
    decoding: CapacityLimiter
    unpacking: CapacityLimiter
    submissions: Submissions
    capacity: Capacity
    strikes: Strikes
    previews: PreviewLine
    previewing: CapacityLimiter
    followers: Followers
    gate: Gate
    notes: Notes
    keys: Keyring
    tickets: Tickets
    rate: RateLimit
    uploads: Places
    shares: Shares
    courier: Courier
    fetcher: Fetcher
    stopping: threading.Event = field(default_factory=threading.Event)


@asynccontextmanager
async def running_services(
    settings: Settings, keys: Keyring, rate: Rate
) -> AsyncIterator[Services]:
    """Opens all parts, yields them and closes them again. Works without a running store."""
    base = default_base(settings)
    client = connect(settings.redis_url, prefix=settings.key_prefix)
    fleet = Fleet(client)
    roster = Roster(fleet, base, settings.bases)
    store, blobs = JobStore(client, settings), open_blobs(settings)
    hints = Hints(make_celery(settings, base.name), base.name)
    strikes, failures = Strikes(client, settings), LoraFailures(client, *BASES)
    catalog = Catalog(
        settings.lora_folders,
        (base.family,),
        modules=known_modules(settings.base_model),
        digests=settings.data_dir / "gateway-lora-digests.json",
        suspended=lambda: {**failures.failed(), **strikes.suspended()},
    )
    upscalers = UpscalerCatalog(
        settings.upscalers_dir, digests=settings.data_dir / "gateway-upscaler-digests.json"
    )
    decoders = Decoders(settings.max_pixels, kept_as=blobs.kept_as)
    reaper = Reaper(store, hints, blobs, settings)
    line = open_line(settings, base.name)
    families = Periodic("families", lambda: catalog.serve(roster.families()), FAMILIES_SECONDS)
    stopping = threading.Event()
    places = Places(settings.followers_limit, settings.followers_per_key, FOLLOWED)
    followers = Followers(settings, store, stopping, places)
    images = Images(client, blobs, decoders, settings)
    submissions = Submissions(store, hints, catalog, upscalers, roster, settings)
    shares = Shares(store, settings)
    services = Services(
        settings=settings,
        roster=roster,
        store=store,
        blobs=blobs,
        catalog=catalog,
        upscalers=upscalers,
        fleet=fleet,
        images=images,
        masks=Masks(blobs, decoders, settings),
        quality_gate=QualityGate(settings),
        decoding=CapacityLimiter(DECODERS),
        unpacking=CapacityLimiter(UNPACKED),
        submissions=submissions,
        capacity=Capacity(submissions, images, shares),
        strikes=strikes,
        previews=line,
        previewing=CapacityLimiter(PREVIEWS),
        followers=followers,
        gate=Gate(client),
        notes=Notes(client),
        keys=keys,
        tickets=Tickets(client),
        rate=RateLimit(rate, settings),
        shares=shares,
        uploads=Places(settings.uploads_limit, settings.uploads_per_key, UPLOADS),
        courier=make_courier(settings, client, store, blobs),
        fetcher=Fetcher(settings),
        stopping=stopping,
    )
    sync = lora_sync(settings)
    if sync is not None:
        sync.start()
    _scan_beside(stopping, catalog, upscalers)
    reaper.start()
    families.start()
    services.courier.start()
    try:
        yield services
    finally:
        stopping.set()
        await services.courier.stop()
        reaper.stop()
        if sync is not None:
            sync.stop()
        families.stop()
        catalog.close()
        upscalers.close()
        decoders.close()
        await followers.close()
        line.client.close()
        client.close()


def default_base(settings: Settings) -> ServedBase:
    """The base of these settings, as its workers announce it."""
    name = name_base(identify_base(settings.base_model).id, settings.base_model)
    return ServedBase(name, base_defaults_of(settings.base_model))


def _scan_beside(stopping: threading.Event, *catalogs: Catalog | UpscalerCatalog) -> None:
    # Hashing gigabytes of weights must not delay the gateway's first answers.
    given = (stopping, *catalogs)
    thread = threading.Thread(target=_scan, args=given, name="first-scan", daemon=True)
    thread.start()
    thread.join(FIRST_SCAN_SECONDS)


def _scan(stopping: threading.Event, *catalogs: Catalog | UpscalerCatalog) -> None:
    # The smaller file first: jobs with LoRAs wait for the other one anyway.
    for catalog in reversed(catalogs):
        try:
            catalog.scan()
        except Exception as error:
            note_failure("first-scan", error)
        catalog.watch()
        if stopping.is_set():  # the gateway may have closed it before this
            catalog.close()
        logger.info(
            "catalogue scanned", kind=type(catalog).__name__, entries=len(catalog.entries())
        )
