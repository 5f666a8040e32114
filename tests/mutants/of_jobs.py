"""Changes to jobs and callbacks."""

from tests.mutants.mutant import Mutant

JOBS = (
    Mutant(
        "jobs/receivers.py",
        "schedule[attempts - 1]",
        "schedule[attempts]",
        "the first repetition of a callback comes after five seconds",
        "tests/jobs/test_callbacks.py",
        "tests/e2e/test_callbacks.py",
    ),
    Mutant(
        "jobs/receivers.py",
        "max(wait, min(requested or 0, schedule[-1]))",
        "min(requested or wait, schedule[-1])",
        "no receiver asks for a callback earlier than its turn",
        "tests/jobs/test_callbacks.py",
        "tests/e2e/test_callbacks.py",
    ),
    Mutant(
        "jobs/runner.py",
        "                if job.crashes >= _MAX_CRASHES:\n",
        "                if job.crashes > _MAX_CRASHES:\n",
        "a job is given up after five crashes",
        "tests/jobs/test_runner.py",
    ),
    Mutant(
        "jobs/runner.py",
        ("            with archive.readers.reading(to_the_end=True):\n                await attempt.begin(archive)\n"),
        "            with archive.readers.reading():\n                await attempt.begin(archive)\n",
        "a job wants its archive to the end, however large it is",
        "tests/jobs/test_runner.py",
        "tests/e2e/test_jobs.py",
    ),
    Mutant(
        "jobs/events.py",
        'yield JobEvent("status", outcomes_of(job) + 1, job.document())',
        'yield JobEvent("status", outcomes_of(job), job.document())',
        "the end of a job has a number of its own",
        "tests/jobs/test_events.py",
        "tests/e2e/test_job_events.py",
    ),
    Mutant(
        "jobs/runner.py",
        "        except BaseException:\n            self._release_suspects()\n            raise\n",
        "        except BaseException:\n            raise\n",
        "a suspect that cannot begin lets the next one begin",
        "tests/jobs/test_runner.py",
    ),
    Mutant(
        "jobs/runner.py",
        "        since = job.retrying_since or now\n",
        "        since = now\n",
        "a job is not tried for ever",
        "tests/jobs/test_runner.py",
    ),
    Mutant(
        "jobs/embedded.py",
        "            if self._tasks.get(name) is task:\n                del self._tasks[name]\n",
        "            self._tasks.pop(name, None)\n",
        "a callback that was repeated is still the task of its job",
        "tests/jobs/test_embedded.py tests/jobs/conformance/test_engine.py",
    ),
    Mutant(
        "jobs/callbacks.py",
        "allow_redirects=False",
        "allow_redirects=True",
        "a callback follows no redirect",
        "tests/jobs/test_callbacks.py",
        "tests/e2e/test_callbacks.py",
    ),
    Mutant(
        "jobs/events.py",
        "            if self._archive_id not in (None, job.archive_id):",
        "            if self._archive_id is None and job.archive_id == '':",
        "another archive of the job is told from its start",
        "tests/jobs/test_events.py",
        "tests/e2e/test_job_events.py",
    ),
)
