"""Leases on devices: one holder each, and free again when it is gone."""

import time

import redis

from worker.process.device_leases import DeviceLeases


def test_two_holders_take_different_devices_and_a_third_gets_none(
    redis_client: redis.Redis,
) -> None:
    devices = ["gpu-a", "gpu-b"]
    holders = [DeviceLeases(redis_client, name) for name in ("one", "two", "three")]
    assert [holder.take(devices) for holder in holders] == ["gpu-a", "gpu-b", None]


def test_a_device_that_is_given_back_can_be_taken(redis_client: redis.Redis) -> None:
    one, two = DeviceLeases(redis_client, "one"), DeviceLeases(redis_client, "two")
    one.take(["gpu"])
    two.give_back()
    assert two.take(["gpu"]) is None
    one.give_back()
    assert two.take(["gpu"]) == "gpu"
    assert not one.renew("gpu")


def test_a_holder_that_comes_again_gets_what_it_had(redis_client: redis.Redis) -> None:
    devices = ["gpu-a", "gpu-b"]
    DeviceLeases(redis_client, "other").take(devices)
    mine = DeviceLeases(redis_client, "mine")
    assert mine.take(devices) == "gpu-b"
    DeviceLeases(redis_client, "other").give_back()
    assert DeviceLeases(redis_client, "mine").take(devices) == "gpu-b"


def test_a_lease_that_is_not_renewed_runs_out(redis_client: redis.Redis) -> None:
    brief = DeviceLeases(redis_client, "brief", seconds=0.1)
    brief.take(["gpu"])
    time.sleep(0.15)
    assert DeviceLeases(redis_client, "next").take(["gpu"]) == "gpu"
    assert not brief.renew("gpu")
