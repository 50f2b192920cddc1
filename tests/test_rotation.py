"""Who is given which replica, and who waits."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from pydantic import SecretStr

from supervisor import rotation as module
from supervisor.errors import NobodyReady
from supervisor.policy.balancing import BalancingRules, least_outstanding, round_robin
from supervisor.policy.queueing import QueueLimits
from supervisor.rotation import Rotation, Upstream


def upstream(replica: int, slot: int | None = None) -> Upstream:
    return Upstream(
        replica=replica,
        slot=replica if slot is None else slot,
        generation="g",
        socket_path=Path("/nowhere"),
        credential=SecretStr("sk-secret"),
    )


def rotation(*replicas: int, size: int = 10, timeout: float = 5.0) -> Rotation:
    made = Rotation(round_robin, QueueLimits(size=size, timeout=timeout))
    for replica in replicas:
        made.add(upstream(replica))
    return made


async def in_line(made: Rotation, count: int) -> None:
    async with asyncio.timeout(5):
        while made.waiting != count:
            await asyncio.sleep(0)


async def test_replicas_take_turns():
    made = rotation(1, 2, 3)
    assert [(await made.lease()).replica for _ in range(6)] == [1, 2, 3, 1, 2, 3]


async def test_a_draining_replica_is_never_chosen_and_is_idle_when_its_last_request_ends():
    made = rotation(1, 2)
    held = await made.lease()
    made.drain(held.replica)
    idle = asyncio.create_task(made.wait_idle(held.replica))
    assert [(await made.lease()).replica for _ in range(3)] == [2, 2, 2]
    assert not idle.done()
    made.release(held)
    await asyncio.wait_for(idle, 5)
    assert made.available == 1


async def test_a_suspect_is_chosen_only_when_all_are():
    made = rotation(1, 2)
    made.set_suspect(1, suspect=True)
    assert {(await made.lease()).replica for _ in range(4)} == {2}
    made.set_suspect(2, suspect=True)
    assert {(await made.lease()).replica for _ in range(4)} == {1, 2}
    made.set_suspect(1, suspect=False)
    assert {(await made.lease()).replica for _ in range(4)} == {1}


async def test_a_replica_that_was_tried_is_not_given_again():
    made = rotation(1, 2)
    assert {(await made.lease(frozenset({1}))).replica for _ in range(3)} == {2}


async def test_requests_in_line_are_served_in_order_as_soon_as_a_replica_is_there():
    made = rotation()
    order: list[int] = []

    async def one(number: int) -> None:
        await made.lease()
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(one(number))
            await in_line(made, number + 1)
        made.add(upstream(1))
    assert order == [0, 1, 2, 3, 4]
    assert (made.waiting, made.in_flight) == (0, 5)


async def test_one_that_has_tried_every_replica_present_does_not_hold_up_those_behind_it():
    made = rotation(1)
    blocked = asyncio.create_task(made.lease(frozenset({1})))
    await in_line(made, 1)
    assert (await asyncio.wait_for(made.lease(), 5)).replica == 1
    made.drain(1)
    behind = asyncio.create_task(made.lease())
    await in_line(made, 2)
    made.add(upstream(2))
    assert (await asyncio.wait_for(blocked, 5)).replica == 2
    assert (await asyncio.wait_for(behind, 5)).replica == 2


async def test_in_line_too_the_one_that_may_not_have_a_replica_is_skipped():
    made = rotation()
    blocked = asyncio.create_task(made.lease(frozenset({1})))
    await in_line(made, 1)
    behind = asyncio.create_task(made.lease())
    await in_line(made, 2)
    made.add(upstream(1))
    assert (await asyncio.wait_for(behind, 5)).replica == 1
    assert not blocked.done()
    made.add(upstream(2))
    assert (await asyncio.wait_for(blocked, 5)).replica == 2


async def test_one_that_has_tried_every_replica_gets_a_second_chance(monkeypatch):
    monkeypatch.setattr(module, "SECOND_CHANCE", 0.01)
    made = rotation(1)
    assert (await asyncio.wait_for(made.lease(frozenset({1})), 5)).replica == 1


async def test_a_full_line_refuses_at_once():
    made = rotation(size=1)
    waiting = asyncio.create_task(made.lease())
    await in_line(made, 1)
    with pytest.raises(NobodyReady, match="full") as refused:
        await made.lease()
    assert refused.value.retry_after > 0
    waiting.cancel()


async def test_a_wait_ends_at_the_limit_or_at_what_is_left_of_it():
    with pytest.raises(NobodyReady, match="within"):
        await rotation(timeout=0.01).lease()
    with pytest.raises(NobodyReady):
        await rotation(timeout=60).lease(timeout=0.01)


async def test_one_that_leaves_the_line_leaves_nothing_behind():
    made = rotation()
    leaver = asyncio.create_task(made.lease())
    await in_line(made, 1)
    leaver.cancel()
    # In the same turn a replica comes: it must go to nobody rather than to the one that is leaving.
    made.add(upstream(1))
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert (made.waiting, made.in_flight) == (0, 0)


async def test_what_was_given_to_one_that_leaves_in_that_very_turn_is_given_back():
    made = rotation()
    leaver = asyncio.create_task(made.lease())
    await in_line(made, 1)
    made.add(upstream(1))
    assert made.in_flight == 1
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert made.in_flight == 0


async def test_a_replica_that_is_removed_is_announced_once_and_frees_whoever_waits_for_it():
    made = rotation(1)
    removed: list[int] = []
    made.on_removed(lambda gone: removed.append(gone.replica))
    held = await made.lease()
    idle = asyncio.create_task(made.wait_idle(1))
    await asyncio.sleep(0)
    made.remove(1)
    made.remove(1)
    await asyncio.wait_for(idle, 5)
    assert removed == [1]
    made.release(held)
    assert (made.in_flight, made.available, made.get(1)) == (0, 0, None)


async def test_least_outstanding_sees_what_is_in_flight():
    made = Rotation(least_outstanding, QueueLimits(size=1, timeout=1))
    made.add(upstream(1))
    made.add(upstream(2))
    first = await made.lease()
    assert first.replica == 1
    assert (await made.lease()).replica == 2
    made.release(first)
    assert (await made.lease()).replica == 1


async def test_least_outstanding_gives_a_client_that_asks_again_the_replica_that_it_had():
    made = Rotation(least_outstanding, QueueLimits(size=1, timeout=1))
    for replica in (1, 2, 3):
        made.add(upstream(replica))
    first, second = await made.lease(), await made.lease()
    made.release(first)
    made.release(second)
    for _ in range(5):  # one at a time: it stays with the one that worked last, not the one that is free for longest
        leased = await made.lease()
        assert leased is second
        made.release(leased)


async def test_key_headers_are_remembered_in_lower_case():
    made = rotation(1)
    other = upstream(2)
    other.key_header = "X-Company-Key"
    made.add(other)
    made.remove(2)
    assert made.key_headers == {"authorization", "x-company-key"}


def test_a_repr_shows_no_secret():
    assert "sk-secret" not in repr(upstream(1))


# A limit for each replica.


def limited(*replicas: int, most: int, size: int = 10) -> Rotation:
    made = Rotation(round_robin, QueueLimits(size=size, timeout=5.0), BalancingRules(max_in_flight=most))
    for replica in replicas:
        made.add(upstream(replica))
    return made


async def test_what_is_beyond_the_limit_waits_and_a_place_that_becomes_free_goes_to_who_is_first():
    made = limited(1, 2, most=1)
    held = [await made.lease(), await made.lease()]
    assert {each.replica for each in held} == {1, 2}
    order: list[int] = []

    async def one(number: int) -> None:
        leased = await made.lease()
        order.append(number)
        made.release(leased)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(one(number))
            await in_line(made, number + 1)
        made.release(held[0])
        # Whoever comes in the very turn in which a place becomes free finds it taken already.
        assert made.take() is None
        group.create_task(one(5))
    assert order == [0, 1, 2, 3, 4, 5]
    made.release(held[1])
    assert (made.waiting, made.in_flight) == (0, 0)


async def test_no_history_of_takes_and_releases_goes_beyond_the_limit_or_leaves_a_place_empty_while_one_waits():
    draw = random.Random(7)
    made = limited(1, 2, 3, most=2, size=50)
    held: list[Upstream] = []
    waiting: list[asyncio.Task[Upstream]] = []
    for _ in range(2000):
        match draw.choice(["come", "come", "end", "leave"]):
            case "come" if len(waiting) < 40:
                waiting.append(asyncio.create_task(made.lease()))
            case "end" if held:
                made.release(held.pop(draw.randrange(len(held))))
            case "leave" if waiting:
                draw.choice(waiting).cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        held += [task.result() for task in waiting if task.done() and not task.cancelled()]
        waiting = [task for task in waiting if not task.done()]
        assert all(each.in_flight <= 2 for each in made)
        assert made.in_flight == len(held)
        assert made.waiting == len(waiting)
        assert not waiting or made.in_flight == 6
    for task in waiting:
        task.cancel()


async def test_a_full_pool_with_no_room_in_line_says_which_of_the_two_it_is():
    made = limited(1, most=1, size=0)
    await made.lease()
    with pytest.raises(NobodyReady, match="as many requests as it may"):
        await made.lease()
    with pytest.raises(NobodyReady, match="no replica is ready"):
        await limited(most=1, size=0).lease()


async def test_a_request_that_goes_elsewhere_stands_in_front_even_of_a_full_line():
    made = limited(1, most=1, size=1)
    held = await made.lease()
    newcomer = asyncio.create_task(made.lease())
    await in_line(made, 1)
    again = asyncio.create_task(made.lease(frozenset({7})))
    await in_line(made, 2)
    after = asyncio.create_task(made.lease(frozenset({7})))
    await in_line(made, 3)
    made.release(held)
    held = await asyncio.wait_for(again, 5)
    assert held.replica == 1
    assert not after.done()
    made.release(held)
    await asyncio.wait_for(after, 5)
    assert not newcomer.done()
    newcomer.cancel()


async def test_those_in_line_get_a_suspect_when_the_last_that_was_well_has_gone():
    made = limited(1, 2, most=1)
    made.set_suspect(2, suspect=True)
    assert (await made.lease()).replica == 1
    waiter = asyncio.create_task(made.lease())
    await in_line(made, 1)
    made.remove(1)
    assert (await asyncio.wait_for(waiter, 5)).replica == 2


# Newcomers and failures.


async def test_a_replica_that_joins_others_gets_its_share_step_by_step_and_a_single_one_all():
    now = 1000.0
    made = Rotation(round_robin, QueueLimits(1, 1.0), BalancingRules(slow_start=10.0), clock=lambda: now)
    made.add(upstream(1))
    assert {(await made.lease()).replica for _ in range(20)} == {1}
    now += 20.0
    made.add(upstream(2))
    given = []
    for _ in range(4):
        leased = [(await made.lease()).replica for _ in range(1000)]
        given.append(leased.count(2))
        now += 4.0
    assert given[0] < 200 < given[1] < given[2] <= given[3] == 500


async def test_one_that_fails_at_once_does_not_attract_requests():
    now = 1000.0
    made = Rotation(least_outstanding, QueueLimits(1, 1.0), clock=lambda: now)
    for replica in (1, 2):  # these hold what they got; the third answers everything with a failure, at once
        made.add(upstream(replica))
    for _ in range(6):
        await made.lease()
    made.add(upstream(3))
    failures = 0
    for _ in range(100):
        leased = await made.lease()
        made.release(leased)
        if leased.replica == 3:
            made.failed(leased)
            failures += 1
        now += 0.01
    assert failures <= 5
    now += 60.0
    assert (await made.lease()).replica == 3


async def test_other_rules_count_from_then_on_and_those_in_line_keep_their_place():
    made = rotation(1)
    made.rule(round_robin, QueueLimits(size=10, timeout=5.0), BalancingRules(max_in_flight=1))
    held = await made.lease()
    waiting = asyncio.create_task(made.lease())
    await in_line(made, 1)
    made.rule(round_robin, QueueLimits(size=0, timeout=5.0), BalancingRules(max_in_flight=1))
    with pytest.raises(NobodyReady):
        await made.lease()
    assert made.waiting == 1
    made.rule(round_robin, QueueLimits(size=0, timeout=5.0), BalancingRules(max_in_flight=2))
    assert (await asyncio.wait_for(waiting, 5)).replica == held.replica
