"""annotate: reasoning from templates and from servers, its failures, limits, costs and keys.

The server is tests/fake_messages_server.py, a process of its own that speaks the real protocols.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotate_support import Stages
from fake_messages_server import KEY, reasoning, running
from test_domain_seam import lights as lights

from llmkit.annotate_journal import Failed, open_journal
from llmkit.annotate_keys import from_file
from llmkit.annotate_limits import Limits
from llmkit.errors import ConfigError, LlmkitError, OutputError

pytest.importorskip("anthropic")
pytest.importorskip("openai")
pytest.importorskip("tenacity")

FAST = ("provider.backoff=0.02", "provider.timeout=20", "provider.requests_per_minute=100000",
        "provider.tokens_per_minute=100000000")  # fmt: skip
BATCH = ("mode=batch", "provider.batch.poll=0.1", "provider.batch.settle=1")


def context(host: str) -> str:
    return (
        "## Current System State\n\n- Boot mode: UEFI\n- Network: Connected\n"
        f"- Hostname: {host}\n- Timezone: not set\n\n## Available Disks\n\n- /dev/sda: 465.8G (Disk)"
    )


def snapshot(host: str, thinking: str | None = None) -> dict[str, Any]:
    expected = {"type": "command", "command": "lsblk"}
    if thinking is not None:
        expected["thinking"] = thinking
    return {
        "system_context": context(host),
        "messages": [{"role": "user", "content": f"list the disks of {host}"}],
        "expected_response": expected,
        "meta": {"conversation": host},
    }


def names(count: int) -> list[str]:
    return [f"h{number:04}" for number in range(count)]


def write(folder: Path, hosts: list[str]) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(snapshot(host)) + "\n" for host in hosts))
    return path


def expected(hosts: list[str]) -> list[dict[str, Any]]:
    return [snapshot(host, reasoning(host)) for host in hosts]


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """Where runs are forked from."""
    started = Stages()
    yield started
    started.close()


@pytest.fixture
def annotate(tmp_path: Path, stages: Stages) -> Any:
    """Run the stage in the test's folder, from in.jsonl to out.jsonl."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        env = {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": "", **options.pop("env", {})}
        given = ("file=in.jsonl", "output_file=out.jsonl", *arguments)
        names = [word.partition("=")[0] for word in given]
        given = tuple(  # the last one counts
            word for place, word in enumerate(given)
            if word.startswith("-") or names[place] not in names[place + 1 :]
        )  # fmt: skip
        return stages.run(*given, cwd=tmp_path, env=env, **options)

    return run


def anthropic(url: str, *more: str) -> tuple[str, ...]:
    return ("provider=anthropic", f"provider.base_url={url}", *FAST, *more)


# One by one


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_every_snapshot_gets_its_own_answer_in_the_inputs_order(
    tmp_path: Path, annotate: Any, kind: str
) -> None:
    """Through both APIs, with answers that arrive out of order."""
    hosts = names(24)
    write(tmp_path, hosts)
    with running(delay=0.1) as server:
        url = server.url if kind == "anthropic" else f"{server.url}/v1"
        done = annotate(f"provider={kind}", f"provider.base_url={url}", *FAST)
        assert done.returncode == 0, done.stderr
        assert read(tmp_path / "out.jsonl") == expected(hosts)
        assert server.stats()["paid"] == dict.fromkeys(hosts, 1)
    assert "24 snapshots with reasoning (24 written, 0 had some, 0 failed)" in done.stdout
    assert "specific: 24 of 24 (100.00%)" in done.stdout
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert manifest["counts"]["written"] == 24
    assert manifest["tokens"]["sync"] == {"input": 24 * 500, "output": 24 * 60}


def test_what_has_reasoning_stays_byte_for_byte(tmp_path: Path, annotate: Any) -> None:
    """Odd spacing and key order included; it is not asked about."""
    odd = (
        '{ "messages": [{"content": "hi", "role": "user"}],  "system_context": "## x",'
        ' "expected_response": {"thinking": "t\\u0031", "type": "text", "response": "Hello."}}'
    )
    path = write(tmp_path, ["one"])
    path.write_text(odd + "\n" + path.read_text() + odd)
    with running() as server:
        assert annotate(*anthropic(server.url)).returncode == 0
        assert server.stats()["asked"] == {"one": 1}
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert (lines[0], lines[2]) == (odd, odd)
    assert json.loads(lines[1])["expected_response"]["thinking"] == reasoning("one")


def test_overload_timeouts_and_broken_connections_are_tried_again(
    tmp_path: Path, annotate: Any
) -> None:
    """429, 529, 500, 503, 408, a time-out, answers that break off: each snapshot is right at last."""
    hosts = names(16)
    write(tmp_path, hosts)
    faults = {"429": 0.1, "529": 0.1, "500": 0.1, "503": 0.05, "408": 0.05, "drop": 0.08,
              "half": 0.08, "timeout": 0.05}  # fmt: skip
    with running(seed=3, hang=3.0, **faults) as server:
        more = ("provider.timeout=2", "provider.retries=30", "provider.concurrency=8")
        done = annotate(*anthropic(server.url, *more))
        assert done.returncode == 0, done.stderr
        met = server.stats()["faults"]
    assert read(tmp_path / "out.jsonl") == expected(hosts)
    assert len(met) >= 5, met


@pytest.mark.parametrize(("after", "least"), [(1.5, 1.5), ("date", 0.9)])
def test_retry_after_is_waited_for(
    tmp_path: Path, annotate: Any, after: float | str, least: float
) -> None:
    """As a number of seconds and as a date, where the own back-off would be far shorter."""
    write(tmp_path, ["one"])
    with running(**{"429": 1.0, "most": {"429": 1}, "retry_after": after}) as server:
        done = annotate(*anthropic(server.url))
        assert done.returncode == 0, done.stderr
        first, second = server.stats()["times"]
    assert second - first >= least


def test_a_wait_beyond_patience_is_a_failure(tmp_path: Path, annotate: Any) -> None:
    """A server that asks for an hour is not waited for; the next run asks again."""
    write(tmp_path, ["one"])
    with running(**{"429": 1.0, "most": {"429": 1}, "retry_after": 3600}) as server:
        done = annotate(*anthropic(server.url))
        assert done.returncode == 1
        (failed,) = read(tmp_path / "out.failed.jsonl")
        assert failed["kind"] == "transient" and "429" in failed["reason"]
        assert failed["snapshot"] == snapshot("one")
        assert annotate(*anthropic(server.url)).returncode == 0
    assert read(tmp_path / "out.jsonl") == expected(["one"])
    assert not (tmp_path / "out.failed.jsonl").exists()


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("truncated", "content", "cut off"),
        ("refusal", "content", "refused"),
        ("short", "content", "1 lines where 2 to 4 are asked for"),
        ("stranger", "content", "names what is not there: /dev/sdq"),
        ("400", "refused", "status 400"),
    ],
)
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_answers_that_do_not_count_are_failures_with_a_reason(
    tmp_path: Path, annotate: Any, fault: str, kind: str, reason: str, provider: str
) -> None:
    """They are not tried again by themselves, the others are written, and the exit code is 1."""
    hosts = names(5)
    write(tmp_path, hosts)
    with running(**{fault: 1.0, "most": {fault: 1}}) as server:
        url = server.url if provider == "anthropic" else f"{server.url}/v1"
        done = annotate(
            f"provider={provider}", f"provider.base_url={url}", *FAST, "provider.concurrency=1"
        )
        assert done.returncode == 1
        assert server.stats()["asked"] == dict.fromkeys(hosts, 1)
        (failed,) = read(tmp_path / "out.failed.jsonl")
        assert (failed["kind"], failed["line"]) == (kind, 1)
        assert reason in failed["reason"]
        assert read(tmp_path / "out.jsonl") == expected(hosts[1:])
        # a failure of this kind is asked again when that is wanted, and only then
        again = annotate(f"provider={provider}", f"provider.base_url={url}", *FAST)
        assert again.returncode == 1 and server.stats()["asked"] == dict.fromkeys(hosts, 1)
        again = annotate(f"provider={provider}", f"provider.base_url={url}", *FAST, "retry=all")
        assert again.returncode == 0, again.stderr
    assert read(tmp_path / "out.jsonl") == expected(hosts)


def test_a_provider_that_never_answers_stops_the_run(tmp_path: Path, annotate: Any) -> None:
    """After a few snapshots, not after all of them."""
    write(tmp_path, names(200))
    with running(**{"529": 1.0}) as server:
        done = annotate(*anthropic(server.url, "provider.retries=0", "provider.concurrency=2"))
        asked = len(server.stats()["asked"])
    assert done.returncode == 1
    assert "snapshots in a row got no answer" in done.stderr
    assert 16 <= asked < 40
    assert not (tmp_path / "out.jsonl").exists()


def test_a_finished_run_is_not_paid_for_again(tmp_path: Path, annotate: Any) -> None:
    """Nor is one with a larger limit, beyond what is new."""
    hosts = names(6)
    write(tmp_path, hosts)
    with running() as server:
        assert annotate(*anthropic(server.url, "limit=4")).returncode == 0
        assert read(tmp_path / "out.jsonl") == expected(hosts[:4])
        assert annotate(*anthropic(server.url)).returncode == 0
        assert annotate(*anthropic(server.url)).returncode == 0
        assert server.stats()["asked"] == dict.fromkeys(hosts, 1)
    assert read(tmp_path / "out.jsonl") == expected(hosts)


def test_another_run_is_not_mixed_in(tmp_path: Path, annotate: Any) -> None:
    """Another model or other data: refused, with the way out."""
    write(tmp_path, ["one"])
    with running() as server:
        assert annotate(*anthropic(server.url)).returncode == 0
        free = annotate()
        assert free.returncode == 2 and "another provider" in free.stderr
        other = annotate(*anthropic(server.url, "provider.model=other"))
        assert other.returncode == 2 and "another provider" in other.stderr
        write(tmp_path, ["two"])
        other = annotate(*anthropic(server.url))
        assert other.returncode == 2 and "resume=never" in other.stderr
        assert annotate(*anthropic(server.url, "resume=never")).returncode == 0
    assert read(tmp_path / "out.jsonl") == expected(["two"])


# Batches


def test_a_batch_run_in_one_go(tmp_path: Path, annotate: Any) -> None:
    """Several batches, results in another order, errored, canceled and expired items sent again."""
    hosts = names(31)
    write(tmp_path, hosts)
    faults = {"errored": 0.3, "canceled": 0.2, "expired": 0.2, "429": 0.1, "500": 0.1, "cut": 0.3}
    # At most five of a kind that counts: a snapshot is sent six times (1 + retries).
    most = {"errored": 2, "canceled": 1, "expired": 2, "cut": 4}
    with running(seed=5, takes=0.3, most=most, **faults) as server:
        done = annotate(*anthropic(server.url, *BATCH, "provider.batch.requests=9"))
        assert done.returncode == 0, done.stderr
        stats = server.stats()
    assert read(tmp_path / "out.jsonl") == expected(hosts)
    assert stats["paid"] == dict.fromkeys(hosts, 1)
    assert stats["batches"] > 4 and {"errored", "canceled", "expired"} <= set(stats["faults"])


def test_submit_status_and_process_are_steps(tmp_path: Path, annotate: Any) -> None:
    """Each a run of its own; process says what is not complete, and what failed can be retried."""
    hosts = names(8)
    write(tmp_path, hosts)
    with running(takes=0.0, errored=1.0, invalid=0.0, most={"errored": 2}) as server:
        base = anthropic(server.url, *BATCH)
        done = annotate(*base, "action=submit")
        assert done.returncode == 0 and "batch 1: msgbatch_001, 8 requests" in done.stdout
        assert not (tmp_path / "out.jsonl").exists()
        done = annotate(*base, "action=status")
        assert "msgbatch_001: ended: 0 processing, 6 succeeded, 2 errored" in done.stdout
        assert "0 answered, 0 failed, 8 under way" in done.stdout
        done = annotate(*base, "action=submit")
        assert "nothing to submit; 1 batches are under way" in done.stdout
        done = annotate(*base, "mode=sync")
        assert done.returncode == 2 and "go on with mode=batch" in done.stderr
        done = annotate(*base, "action=process")
        assert done.returncode == 1 and "2 of 8 snapshots have no reasoning" in done.stderr
        failed = read(tmp_path / "out.failed.jsonl")
        assert [item["kind"] for item in failed] == ["transient", "transient"]
        assert KEY not in json.dumps(failed) and "overloaded_error" in failed[0]["reason"]
        done = annotate(*base, "action=submit")
        assert "batch 2: msgbatch_002, 2 requests" in done.stdout
        assert annotate(*base, "action=process").returncode == 0
        assert server.stats()["paid"] == dict.fromkeys(hosts, 1)
    assert read(tmp_path / "out.jsonl") == expected(hosts)


def test_process_before_the_end_is_not_complete(tmp_path: Path, annotate: Any) -> None:
    """Exit code 1 and no output while a batch runs."""
    write(tmp_path, names(3))
    with running(takes=3600) as server:
        base = anthropic(server.url, *BATCH)
        assert annotate(*base, "action=submit").returncode == 0
        done = annotate(*base, "action=process")
    assert done.returncode == 1 and "not complete: 1 batches are under way" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("fault", ["lost", "late"])
def test_a_batch_whose_id_never_arrived_is_found_again(
    tmp_path: Path, annotate: Any, fault: str
) -> None:
    """The connection broke off while it was made: it is looked up, not sent twice."""
    hosts = names(7)
    write(tmp_path, hosts)
    with running(**{fault: 1.0, "most": {fault: 1}, "late_by": 0.4}) as server:
        done = annotate(*anthropic(server.url, *BATCH))
        assert done.returncode == 0, done.stderr
        stats = server.stats()
    assert read(tmp_path / "out.jsonl") == expected(hosts)
    assert stats["batches"] == 1 and stats["paid"] == dict.fromkeys(hosts, 1)


def test_a_run_that_died_between_submit_and_save_does_not_pay_twice(
    tmp_path: Path, annotate: Any
) -> None:
    """Left as `submitting`, while other batches of the same size are in the account: its own is
    told from them by custom_ids."""
    hosts = names(5)
    write(tmp_path, hosts)
    with running() as server:
        base = anthropic(server.url, *BATCH)
        for _ in range(3):  # batches of somebody else, of the same size
            other = ("output_file=other.jsonl", "resume=never", "action=submit")
            assert annotate(*base, *other).returncode == 0
        assert annotate(*base, "action=submit").returncode == 0
        for _ in range(2):
            assert annotate(*base, *other).returncode == 0
        path = tmp_path / "out.work/batches/0001.json"
        saved = json.loads(path.read_text())
        assert saved["id"] == "msgbatch_004"
        path.write_text(json.dumps({**saved, "id": "", "state": "submitting"}))
        done = annotate(*base)
        assert done.returncode == 0, done.stderr
        assert server.stats()["batches"] == 6
    assert "had been received: msgbatch_004" in done.stderr
    assert read(tmp_path / "out.jsonl") == expected(hosts)


def test_nothing_is_sent_while_it_is_not_known_whose_a_batch_is(
    tmp_path: Path, annotate: Any
) -> None:
    """An open batch of the same size may be the lost one: submit refuses."""
    write(tmp_path, names(5))
    with running(takes=3600) as server:
        base = anthropic(server.url, *BATCH)
        assert annotate(*base, "action=submit").returncode == 0
        path = tmp_path / "out.work/batches/0001.json"
        saved = json.loads(path.read_text())
        path.write_text(json.dumps({**saved, "id": "", "state": "submitting"}))
        done = annotate(*base, "action=submit")
        assert server.stats()["batches"] == 1
    assert done.returncode == 1 and "may be msgbatch_001, which is still running" in done.stderr


def test_a_batch_that_was_never_received_is_sent_again(tmp_path: Path, annotate: Any) -> None:
    """Left as `submitting`, and the account has none like it."""
    hosts = names(4)
    write(tmp_path, hosts)
    with running(drop=1.0, most={"drop": 1}) as server:
        done = annotate(*anthropic(server.url, *BATCH))
        assert done.returncode == 0, done.stderr
        assert server.stats()["batches"] == 1
    assert read(tmp_path / "out.jsonl") == expected(hosts)


def test_a_batch_that_is_gone_may_be_asked_anew(tmp_path: Path, annotate: Any) -> None:
    """The server does not know it any more: its snapshots are transient failures."""
    hosts = names(3)
    write(tmp_path, hosts)
    with running() as server:
        base = anthropic(server.url, *BATCH)
        assert annotate(*base, "action=submit").returncode == 0
        path = tmp_path / "out.work/batches/0001.json"
        path.write_text(path.read_text().replace("msgbatch_001", "msgbatch_999"))
        assert annotate(*base).returncode == 0
    assert read(tmp_path / "out.jsonl") == expected(hosts)


# Before spending


def test_dry_run_writes_and_sends_nothing(tmp_path: Path, annotate: Any) -> None:
    """It needs no key, and shows the estimate and the first request."""
    write(tmp_path, names(10))
    with running() as server:
        done = annotate(*anthropic(server.url, "dry_run=true"), env={"ANTHROPIC_API_KEY": ""})
        assert server.stats()["asked"] == {}
    assert done.returncode == 0, done.stderr
    assert "10 requests, about" in done.stdout and "about $0.0" in done.stdout
    assert "list the disks of h0000" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_a_run_that_may_cost_too_much_is_refused(tmp_path: Path, annotate: Any) -> None:
    """Before the first request, also when prices are not known."""
    write(tmp_path, names(1000))
    with running() as server:
        done = annotate(*anthropic(server.url, "max_cost=0.5"))
        assert done.returncode == 2 and "max_cost=0.5" in done.stderr
        done = annotate(*anthropic(server.url, "max_cost=500", "provider.prices.input=9999"))
        assert done.returncode == 2
        done = annotate(*anthropic(server.url, "max_cost=500", "provider.prices=null"))
        assert done.returncode == 2 and "no prices are known" in done.stderr
        assert server.stats()["asked"] == {}


def test_a_batch_is_estimated_at_its_own_price(tmp_path: Path, annotate: Any) -> None:
    """Half of what one by one costs."""
    write(tmp_path, names(1000))
    costs = []
    for more in (("mode=sync",), ("mode=batch",)):
        done = annotate("provider=anthropic", "dry_run=true", *more)
        costs.append(float(done.stdout.partition("about $")[2].split()[0]))
    assert costs[1] == pytest.approx(costs[0] / 2, abs=0.01) and costs[0] > 0.5


# Keys


def everything(folder: Path, done: subprocess.CompletedProcess[str]) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]
    return done.stdout + done.stderr + "".join(path.read_text("utf-8") for path in files)


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_key_reaches_no_file_and_no_message(tmp_path: Path, annotate: Any, debug: str) -> None:
    """Though the server repeats it in its errors, and with tracebacks on."""
    write(tmp_path, names(4))
    secret = {"ANTHROPIC_API_KEY": "sk-ant-very-secret-0987", "LLMKIT_DEBUG": debug}
    with running() as server:
        done = annotate(*anthropic(server.url), env=secret, whole=True)
        assert done.returncode == (1 if debug else 2)
        assert "invalid x-api-key: ***" in done.stderr
        assert "very-secret" not in everything(tmp_path, done)
    with running(**{"429": 0.5, "500": 0.3, "400": 0.2}) as server:
        done = annotate(*anthropic(server.url, "provider.retries=0"), env={"LLMKIT_DEBUG": debug})
        assert KEY not in everything(tmp_path, done)
        done = annotate(
            *anthropic(server.url, "--cfg", "job"), env={"LLMKIT_DEBUG": debug}, whole=True
        )
        assert KEY not in done.stdout


def test_a_key_written_in_the_wrong_place_is_not_repeated(tmp_path: Path, annotate: Any) -> None:
    """As key_env, or as a password in the address."""
    write(tmp_path, ["one"])
    for wrong in (
        "provider.key_env=sk-ant-abc",
        "provider.base_url=http://me:sk-ant-abc@localhost:1",
    ):
        done = annotate("provider=anthropic", wrong, whole=True)
        assert done.returncode == 2 and "sk-ant-abc" not in done.stdout + done.stderr


def test_a_key_may_come_from_a_env_file(tmp_path: Path, annotate: Any) -> None:
    """Which the environment wins over."""
    write(tmp_path, ["one"])
    (tmp_path / ".env").write_text(f"# keys\nexport ANTHROPIC_API_KEY='{KEY}'  # mine\nOTHER=1\n")
    with running() as server:
        assert annotate(*anthropic(server.url), env={"ANTHROPIC_API_KEY": ""}).returncode == 0
        more = ("resume=never",)
        wrong = annotate(*anthropic(server.url, *more), env={"ANTHROPIC_API_KEY": "wrong"})
        assert wrong.returncode == 2
        missing = annotate(
            *anthropic(server.url, "provider.env_file=null", *more), env={"ANTHROPIC_API_KEY": ""}
        )
        assert missing.returncode == 2 and "no key: set ANTHROPIC_API_KEY" in missing.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"), ("export A=b", "b"), ("A = 'b c' # d", "b c"), ('A="b#c"', "b#c"),
        ("A=b # c", "b"), ("A=b#c", "b#c"), ("#A=b", ""), ("AA=b", ""), ("A=b\nA=c", "c"), ("", ""),
        ("\ufeffA=b\r\n", "b"),
    ],
)  # fmt: skip
def test_env_files(tmp_path: Path, text: str, value: str) -> None:
    """Quotes, comments, `export`, a later line that wins."""
    (tmp_path / ".env").write_text(text, "utf-8")
    assert from_file(tmp_path / ".env", "A") == value


# Limits


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("requests", "tokens", "each"), [(5, 10**9, 1), (10**9, 1000, 300), (4, 900, 250)]
)
def test_no_minute_sees_more_than_the_limits(requests: int, tokens: int, each: int) -> None:
    """In whichever sixty seconds one looks, of two hundred requests sent as fast as allowed."""
    clock = Clock()
    limits = Limits(requests=requests, tokens=tokens, clock=clock)
    sent = []
    for _ in range(200):
        clock.now = max(clock.now, limits.due(clock.now, each))
        limits.acquire(each)
        sent.append(clock.now)
    for start in sent:
        window = [at for at in sent if start <= at < start + 60]
        assert len(window) <= requests and len(window) * each <= tokens
    assert sent[-1] - sent[0] <= 60 * 200 / min(requests, tokens // each)  # nor slower than it must


def test_a_request_larger_than_the_limit_goes_alone() -> None:
    """It is not waited for without end."""
    clock = Clock()
    limits = Limits(requests=10, tokens=100, clock=clock)
    limits.acquire(50)
    assert limits.due(clock.now, 500) == 1060.0
    clock.now = 1060.0
    limits.acquire(500)
    assert limits.due(clock.now, 1) == 1120.0


def test_a_pause_holds_everybody_back() -> None:
    """Retry-After of one thread is everyone's."""
    clock = Clock()
    limits = Limits(requests=10, tokens=100, clock=clock)
    limits.pause(7.5)
    assert limits.due(clock.now, 1) == 1007.5


# The journal


def test_a_torn_line_is_dropped_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    """Wherever the last write was cut; what stands before it is kept."""
    with open_journal(tmp_path, {"a": 1}, fresh=False, durable=True) as journal:
        journal.answered(0, "eins\nzwei", (5, 6))
        journal.failed(1, Failed("content", "no"))
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[1])):
        path.write_bytes(whole[:-cut])
        with open_journal(tmp_path, {"a": 1}, fresh=False, durable=True) as journal:
            assert journal.thinking(0) == "eins\nzwei" and journal.usage.output == 6
            assert journal.failures == {}
            journal.answered(2, "ü")
            assert journal.thinking(2) == "ü"
    path.write_bytes(b"{\n" + whole)
    with (
        pytest.raises(LlmkitError, match=r"journal.jsonl:1: the journal is damaged"),
        open_journal(tmp_path, {"a": 1}, fresh=False, durable=True),
    ):
        pass


def test_the_first_answer_stays(tmp_path: Path) -> None:
    """A second one, or a failure after it, changes nothing."""
    with open_journal(tmp_path, {}, fresh=False, durable=False) as journal:
        journal.answered(0, "first")
        journal.answered(0, "second")
        journal.failed(0, Failed("content", "no"))
        assert journal.thinking(0) == "first" and journal.failures == {}


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    """The second is refused while the first lives."""
    with (
        open_journal(tmp_path, {}, fresh=False, durable=False),
        pytest.raises(ConfigError, match="another run is at work"),
        open_journal(tmp_path, {}, fresh=False, durable=False),
    ):
        pass
    with open_journal(tmp_path, {}, fresh=False, durable=False):
        pass


# Another domain


def test_another_domain_has_no_templates_and_may_ask_a_model(
    tmp_path: Path, lights: dict[str, str], run_stage: Any
) -> None:
    """What it does not offer is not needed: no reasoning of its own, no check of names."""
    record = {
        "system_context": "on: none",
        "messages": [{"role": "user", "content": "Hostname: hall – light it"}],
        "expected_response": {"type": "command", "command": "on hall"},
    }
    (tmp_path / "in.jsonl").write_text(json.dumps(record) + "\n")
    given = ("domain.name=lights", "file=in.jsonl", "output_file=out.jsonl")
    done = run_stage("annotate", *given, cwd=tmp_path, env=lights)
    assert done.returncode == 2 and "lights has no reasoning of its own" in done.stderr
    with running() as server:
        more = ("provider=openai", f"provider.base_url={server.url}/v1", *FAST)
        done = run_stage("annotate", *given, *more, cwd=tmp_path, env=lights)
    assert done.returncode == 0, done.stderr
    record["expected_response"]["thinking"] = reasoning("hall")  # type: ignore[index]
    assert read(tmp_path / "out.jsonl") == [record]


# The command line


def test_a_template_run_is_the_default(tmp_path: Path, annotate: Any) -> None:
    """Offline, without a key, twice the same bytes, and no work folder is left."""
    write(tmp_path, names(3))
    done = annotate()
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    first = (tmp_path / "out.jsonl").read_bytes()
    assert annotate().returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.jsonl", "out.jsonl", "out.manifest.json"
    ]  # fmt: skip
    for record, host in zip(read(tmp_path / "out.jsonl"), names(3), strict=True):
        lines = record["expected_response"]["thinking"].splitlines()
        assert 2 <= len(lines) <= 4
        assert f'"list the disks of {host}"' in lines[0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("mode=batch",), "mode=batch is for provider=anthropic"),
        (("provider=openai", "mode=batch"), "mode=batch is for provider=anthropic"),
        (("output_file=in.jsonl",), "is one of the files to read"),
        (("file=nowhere.jsonl",), "no such file"),
        (("provider=openai", "provider.request=nowhere.j2"), "no template 'nowhere.j2'"),
        (("provider=claude",), "provider=claude: no such option"),
        (("provider=openai", "provider.retries=-1"), "provider.retries: should be"),
        (("retry=some",), "retry: should be"),
    ],
)
def test_mistakes_cost_a_line(
    tmp_path: Path, annotate: Any, arguments: tuple[str, ...], reason: str
) -> None:
    """Exit code 2, no traceback, nothing written."""
    write(tmp_path, ["one"])
    done = annotate(*arguments, whole=True)
    assert done.returncode == 2 and reason in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_a_bad_record_is_named(tmp_path: Path, annotate: Any) -> None:
    """File, line and pointer, before anything is asked."""
    path = write(tmp_path, ["one"])
    path.write_text(path.read_text() + '{"messages": []}\n')
    done = annotate("provider=openai")
    assert done.returncode == 1 and "in.jsonl:2" in done.stderr


def test_ctrl_c_keeps_what_was_answered(tmp_path: Path) -> None:
    """Exit code 130; the next run asks for the rest alone."""
    hosts = names(60)
    write(tmp_path, hosts)
    with running(delay=0.2) as server:
        command = [sys.executable, "-m", "llmkit.annotate", "file=in.jsonl", "output_file=out.jsonl",
                   *anthropic(server.url, "provider.concurrency=2")]  # fmt: skip
        env = {**os.environ, "ANTHROPIC_API_KEY": KEY}
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE)
        while sum(server.stats()["paid"].values()) < 5:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert subprocess.run(command, cwd=tmp_path, env=env, check=False).returncode == 0
        assert server.stats()["paid"] == dict.fromkeys(hosts, 1)
    assert read(tmp_path / "out.jsonl") == expected(hosts)


def test_what_cost_nothing_is_forgotten_when_it_no_longer_fits(tmp_path: Path) -> None:
    """A template run that was stopped, and whose templates have changed since, begins anew."""
    old, new = ({"provider": {"kind": "template", "templates": name}} for name in "ab")
    with open_journal(tmp_path, old, fresh=False, durable=False) as journal:
        journal.answered(0, "of the old templates")
    with open_journal(tmp_path, old, fresh=False, durable=False) as journal:
        assert list(journal.answers) == [0]
    with open_journal(tmp_path, new, fresh=False, durable=False) as journal:
        assert journal.answers == {}
    with (
        pytest.raises(ConfigError, match="another provider"),
        open_journal(tmp_path, {"provider": {"kind": "openai"}}, fresh=False, durable=True),
    ):
        pass


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """Neither when the write fails nor when a later one goes well."""
    import resource

    with open_journal(tmp_path, {}, fresh=False, durable=True) as journal:
        journal.answered(0, "first")
        path = tmp_path / "journal.jsonl"
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limit[1]))
            with pytest.raises(OutputError, match="cannot write"):
                journal.answered(1, "second" * 10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, before)
        journal.answered(2, "third")
        assert journal.thinking(2) == "third"
    with open_journal(tmp_path, {}, fresh=False, durable=True) as journal:
        assert sorted(journal.answers) == [0, 2]
