"""The long checks, by name. A check takes an empty folder and returns what it found; adding one is one line here."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.bench import fleet as bench_fleet
from tests.bench import memory, path_cost
from tests.faults import (
    aborts,
    cuts,
    decay,
    disk,
    economy,
    eviction,
    kills,
    outage,
    pressure,
    redteam,
    resuming,
    slow_readers,
    storm,
)
from tests.faults.findings import Findings
from tests.fuzz import campaign, real_life
from tests.jobs.kills import kill_jobs
from tests.mutants.soak import notice_changes
from tests.shared.crashes import kill_running, stall_running, stop_poison
from tests.shared.kills import Plan, kill_replicas
from tests.shared.limits import count_callers
from tests.shared.outages import lose_redis, lose_s3
from tests.shared.partitions import part_fleet
from tests.shared.rolling import roll_replicas

Check = Callable[[Path], Awaitable[Findings]]

CHECKS: Mapping[str, tuple[str, Check]] = {
    "resume": ("Downloads cut at random bytes", lambda to: resuming.join_parts(to, downloads=1000, seed=11)),
    "curl": ("Downloads continued by curl", lambda to: resuming.resume_with_curl(to, rounds=20, seed=12)),
    "kills": ("kill -9 in builds", lambda to: kills.kill_builds(to, kills=50, seed=13)),
    "crowd": ("Ten callers at once, who come and go", lambda to: economy.share_builds(to, rounds=100, seed=14)),
    "leavers": ("Callers who leave a build, and return", lambda to: economy.leave_and_return(to, rounds=30, seed=15)),
    "mending": ("Partial, then upstream mended", lambda to: economy.mend_partial(to, rounds=100, seed=16)),
    "decay": ("Stored images that were damaged", lambda to: decay.damage_files(to, rounds=200, seed=17)),
    "loss": ("Images lost while they are sent", lambda to: decay.damage_while_sending(to, rounds=15, seed=18)),
    "fleet": (
        "A random one of three replicas killed every 2 s",
        lambda to: kill_replicas(to, Plan(jobs=200, downloads=100, seed=20)),
    ),
    "rolling": ("Replicas stopped and replaced one by one, under load", lambda to: roll_replicas(to, rounds=3)),
    "partitions": (
        "One of three replicas alone loses Redis, or S3, or stands still for 30 s",
        lambda to: part_fleet(to, rounds=3, seconds=30, seed=26),
    ),
    "jobs": ("kill -9 in jobs of one process", lambda to: kill_jobs(to, jobs=1000, kills=100, seed=23)),
    "jobs-shared": (
        "kill -9 in jobs of three replicas, at random points",
        lambda to: kill_replicas(to, Plan(jobs=1000, seed=24, images=1, pace=0.1, at_once=30, kill_seconds=4)),
    ),
    "rerun": ("Jobs whose replica died, run again by others", lambda to: kill_running(to, rounds=5)),
    "stall": ("A replica that stands still for longer than its lease", lambda to: stall_running(to, rounds=5)),
    "poison": ("A job that kills every replica that runs it", lambda to: stop_poison(to, rounds=2)),
    "redis": ("Redis away", lambda to: lose_redis(to, rounds=5)),
    "limits": ("One caller at four replicas", lambda to: count_callers(to)),
    "replicas": ("Images per second of one, two and three replicas", lambda to: bench_fleet.measure(to)),
    "s3": ("S3 in trouble", lambda to: lose_s3(to, rounds=3)),
    "cuts": ("Failed archives, as every client sees them", lambda to: cuts.notice_cuts(to, rounds=10)),
    "storm": ("Downloads with 20% random faults", lambda to: storm.weather_storm(to, downloads=1000, seed=19)),
    "outage": ("Upstream away", lambda to: outage.survive_outages(to, rounds=30, seed=20)),
    "eviction": ("A store that is too small", lambda to: eviction.evict(to, rounds=30, seed=21)),
    "disk": ("A disk that fills up", lambda to: disk.fill_disk(to, rounds=50, seed=22)),
    "pressure": ("Upstream refuses, or breaks off", lambda to: pressure.press(to, seconds=50)),
    "fair": ("Small orders beside large ones, images in drips", lambda to: pressure.share_fairly(to, rounds=7)),
    "aborts": ("Requests given up midway", lambda to: aborts.give_up(to, requests=10_000, seed=24)),
    "masses": ("Peak memory of many large archives at once", lambda to: memory.measure_crowd(to)),
    "fuzz": (
        "Odd requests, odd bytes, odd documents",
        lambda to: campaign.fuzz(to, examples=10, streams=1000, parser_examples=2000, seed=23),
    ),
    "real-life": (
        "Records, images, names, pauses and download managers at random",
        lambda to: real_life.fuzz(to, seconds=60, seed=25),
    ),
    "redteam": ("Hostile callers and hard times", lambda to: redteam.attack_all(to)),
    "slow": ("Slow readers", lambda to: slow_readers.hold_slow_readers(to, readers=64, seconds=60)),
    "cost": ("What a download costs beside a pass-through", lambda to: path_cost.measure(to)),
    "mutants": ("Small changes to the core, and the tests that notice them", notice_changes),
    "memory": ("Peak memory of a large order", lambda to: memory.measure(to)),
}
