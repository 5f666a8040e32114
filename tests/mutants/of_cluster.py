"""Changes to what instances share."""

from tests.mutants.mutant import Mutant

CLUSTER = (
    Mutant(
        "cluster/link.py",
        "if not self.is_up and (self._is_trying or time.monotonic() < self._retry_at):",
        "if not self.is_up and time.monotonic() < self._retry_at:",
        "one call at a time tries whether the other side is back",
        "tests/shared/test_link.py",
    ),
    Mutant(
        "cluster/link.py",
        "                if self._answered_at <= began:\n",
        "                if self._answered_at < 0:\n",
        "a call is made again only where others were answered",
        "tests/shared/test_link.py",
    ),
    Mutant(
        "cluster/image_leases.py",
        "  if now == ARGV[2 * at + 2] and order == '' then\n",
        "  if order == '' then\n",
        "a lease that is another's by now is not given back",
        "tests/shared/test_image_leases.py",
        "tests/shared/test_once.py",
    ),
    Mutant(
        "cluster/image_leases.py",
        'is_only_one = before in ("", self._redis.instance)',
        "is_only_one = True",
        "that a dead holder may have fetched the image is told",
        "tests/shared/test_image_leases.py",
        "tests/shared/test_once.py",
    ),
    Mutant(
        "cluster/image_leases.py",
        "            asked.add_done_callback(partial(self._give_back_unclaimed, key, number))\n",
        "",
        "a lease that may be ours is given back",
        "tests/shared/test_image_leases.py",
    ),
    Mutant(
        "cluster/archives.py",
        "if state is not State.COMPLETE or archive.key != plan.build_key:",
        "if state is not State.COMPLETE:",
        "a build that ended under another key is not found by its first",
        "tests/shared/test_takeover.py",
    ),
    Mutant(
        "cluster/redis_link.py",
        "            self._is_lost = was_lost or not is_known\n",
        "            self._is_lost = not is_known\n",
        "what Redis lost is mended until that has succeeded",
        "tests/shared/test_redis_link.py",
    ),
    Mutant(
        "cluster/redis_link.py",
        "self._late.append((time.monotonic() + LATE_SECONDS, command))",
        "self._late.append((time.monotonic(), command))",
        "a late call comes behind what it undoes",
        "tests/shared/test_redis_link.py",
    ),
    Mutant(
        "cluster/generations.py",
        "json.dumps([*dict.fromkeys([*before, *image_ids])])",
        "json.dumps([*image_ids])",
        "what was marked before is told too",
        "tests/shared/test_generations.py",
    ),
    Mutant(
        "cluster/spending.py",
        "redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[2])",
        "redis.call('HLEN', KEYS[1]) > tonumber(ARGV[2])",
        "instances do not pass the day's limit together",
        "tests/shared/test_spending.py",
    ),
    Mutant(
        "cluster/link.py",
        "            if is_trial:\n                self._is_trying = False\n",
        "            pass\n",
        "after a failed trial there is another one",
        "tests/shared/test_link.py",
    ),
    Mutant(
        "cluster/share_links.py",
        '            await self._write(made + link.link_id, b"")\n'
        "            await self._write(_RECORDS + link.link_id, link.model_dump_json().encode())\n",
        "            await self._write(_RECORDS + link.link_id, link.model_dump_json().encode())\n"
        '            await self._write(made + link.link_id, b"")\n',
        "a link works only once it is listed",
        "tests/api/test_share_link_records.py",
    ),
    Mutant(
        "cluster/live_lists.py",
        "redis.call('EXPIRE', KEYS[2], ARGV[2], 'GT')",
        "redis.call('EXPIRE', KEYS[2], ARGV[2])",
        "keeping an archive for a short time does not shorten its list's life",
        "tests/shared/test_live_lists.py",
    ),
    Mutant(
        "cluster/breaker_hints.py",
        "            self._trying.discard(breaker)  # in vain",
        "            pass  # in vain",
        "who tried in vain asks the others before it tries again",
        "tests/shared/test_breaker_hints.py",
    ),
    Mutant(
        "cluster/breaker_hints.py",
        "if breaker.is_open:  # its trial is under way",
        "if False:  # its trial is under way",
        "while one tries, the others do not",
        "tests/shared/test_breaker_hints.py",
    ),
    Mutant(
        "cluster/named.py",
        "if known is None or known.seen < now - REMEMBERED_SECONDS:",
        "if known is None:",
        "an archive that was named long ago is forgotten",
        "tests/shared/test_documents.py",
    ),
    Mutant(
        "cluster/orders.py",
        "if may_be_recent and not attempt else None",
        "if may_be_recent else None",
        "what was overtaken is read again",
        "tests/shared/test_documents.py",
    ),
)
