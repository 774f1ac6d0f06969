"""Money: reserved at its worst before anything is sent, settled afterwards, never given out twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from council.budget.ledger import Exhausted, Ledger, Reservation, cost
from council.settings import Budget, Price
from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said
from tests.waiting import until

DIME = 100_000_000
ASKING = """
import sys, time
from pathlib import Path
from council.budget.ledger import Ledger, Reservation
from council.settings import Budget
ledger = Ledger(Path(sys.argv[1]), Budget(day=1, lease_seconds=float(sys.argv[2])))
got = [ledger.reserve("council", "a", "main", 100_000_000) for _ in range(25)]
print(sum(isinstance(each, Reservation) for each in got), flush=True)
sys.stdin.readline()
for each in got:
    if isinstance(each, Reservation):
        ledger.settle(each, each.amount)
"""


def test_of_two_processes_and_fifty_requests_exactly_ten_are_let_in_though_one_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "money.db"
    argv = [sys.executable, "-c", ASKING, str(file), "1"]
    both = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        for _ in range(2)
    ]
    admitted = []
    for process in both:
        assert process.stdout is not None
        admitted.append(int(process.stdout.readline()))
    assert sum(admitted) == 10
    both[0].send_signal(signal.SIGKILL)
    both[1].communicate("\n", timeout=60)
    both[0].communicate(timeout=60)
    ledger = Ledger(file, Budget(day=Decimal(1)))

    def settled() -> bool:
        return all(not each.reserved for each in ledger.spending().values())

    until(settled, "what the killed one held to lapse")
    spent = ledger.spending().values()
    assert sum(each.spent for each in spent) == Decimal(1)
    assert sum(each.at_worst for each in spent) == Decimal("0.1") * admitted[0]
    assert isinstance(ledger.reserve("council", "a", "main", 1), Exhausted)
    ledger.close()


def test_each_limit_holds_by_itself_and_says_what_is_left(tmp_path: Path) -> None:
    budget = Budget(
        day=Decimal(10), routes={"council": Decimal(3)}, tenants={"a": Decimal(2)}, pools={"canary": Decimal(1)}
    )
    ledger = Ledger(tmp_path / "money.db", budget)
    for place, amount, refused in (
        (("council", "a", "main"), 21 * DIME, ("tenant a", "2")),
        (("council", "b", "main"), 31 * DIME, ("route council", "3")),
        (("other", "b", "canary"), 11 * DIME, ("pool canary", "1")),
        (("other", "b", "main"), 101 * DIME, ("day", "10")),
        (("council", "a", "main"), 20 * DIME, None),
        (("council", "b", "main"), 11 * DIME, ("route council", "1")),
        (("council", "a", "main"), 1, ("tenant a", "0")),
        (("other", "b", "main"), 81 * DIME, ("day", "8")),
    ):
        found = ledger.reserve(*place, amount)
        if refused is None:
            assert isinstance(found, Reservation)
        else:
            assert found == Exhausted(refused[0], Decimal(refused[1]))
    ledger.close()


def test_settled_for_less_the_rest_is_free_again_and_for_more_it_is_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "money.db", Budget(day=Decimal(1)))
    first = ledger.reserve("r", "t", "main", 10 * DIME)
    assert isinstance(first, Reservation)
    assert isinstance(ledger.reserve("r", "t", "main", 1), Exhausted)
    ledger.settle(first, 2 * DIME)
    ledger.settle(first, 2 * DIME)
    second = ledger.reserve("r", "t", "main", 8 * DIME)
    assert isinstance(second, Reservation), "settled twice it counts once"
    ledger.settle(second, 9 * DIME)
    (spent,) = ledger.spending().values()
    assert (spent.spent, spent.requests, spent.at_worst) == (Decimal("1.1"), 2, Decimal(0))
    ledger.close()


def test_the_budget_is_of_a_day_and_what_lapses_counts_at_its_worst(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    ledger = Ledger(tmp_path / "money.db", Budget(day=Decimal(1), lease_seconds=60), clock=lambda: now[0])
    held = ledger.reserve("r", "t", "main", 10 * DIME)
    assert isinstance(held, Reservation)
    now[0] += 61
    (spent,) = ledger.spending().values()
    assert (spent.spent, spent.at_worst, spent.reserved) == (Decimal(1), Decimal(1), Decimal(0))
    ledger.settle(held, 0)
    assert isinstance(ledger.reserve("r", "t", "main", 1), Exhausted), "too late: it may have been spent twice"
    now[0] += 86_400
    assert isinstance(ledger.reserve("r", "t", "main", 10 * DIME), Reservation)
    ledger.close()


def test_costs_are_rounded_up(tmp_path: Path) -> None:
    price = Price(input_per_million=Decimal("0.0001"), output_per_million=Decimal(3), request=Decimal("0.01"))
    assert cost(price, 1, 0) == 10_000_001
    assert cost(price, 0, 1_000_000) == 3_010_000_000


PRICED: dict[str, Any] = {
    "backend": {"cloud": {"price": {"request": "0.1"}, "features": []}},
    "stages": [{"name": "cloud", "backends": {"cloud": 1}, "attempts": 1}],
}


def spent(ground: Ground) -> Decimal:
    ledger = Ledger(Path(ground.settings.state), ground.settings.budget)
    rows = ledger.spending().values()
    ledger.close()
    assert not any(each.reserved for each in rows), "something is still held"
    return sum((each.spent for each in rows), Decimal(0))


def test_fifty_at_once_with_a_dollar_left_are_ten(tmp_path: Path) -> None:
    with council(tmp_path, "cloud", budget={"day": 1}, **PRICED) as ground:
        ground.servers["cloud"].says = lambda body: Said(delay=0.1)
        client = ground.client()

        def ask(_: int) -> int:
            try:
                client.chat.completions.create(model="council", messages=MESSAGES)
            except openai.RateLimitError as error:
                codes.append(error.code)
                return 0
            return 1

        codes: list[str | None] = []

        with ThreadPoolExecutor(50) as pool:
            assert sum(pool.map(ask, range(50))) == 10
        assert codes == ["insufficient_quota"] * 40
        assert len(ground.servers["cloud"].asked) == 10
        until(lambda: spent(ground) == 1, "all to be settled")


def test_what_costs_nothing_goes_on_without_money(tmp_path: Path) -> None:
    more = {**PRICED, "stages": [*PRICED["stages"], {"name": "local", "backends": {"local": 1}, "prior": 0.9}]}
    with council(tmp_path, "cloud", "local", budget={"day": 0}, **more) as ground:
        answer = ground.client().chat.completions.create(model="council", messages=MESSAGES)
        told: Any = answer.to_dict()["council"]
        assert [(each["stage"], each["accepted"]) for each in told["stages"]] == [("cloud", False), ("local", True)]
        assert "the budget of this day has $0 left" in told["stages"][0]["reason"]
        assert ground.servers["cloud"].asked == []


@pytest.mark.parametrize(
    ("said", "stream", "counted"),
    [
        (Said(), False, "0.1"),
        (Said(), True, "0.1"),
        (Said(status=500), False, "0"),
        (Said(raw=b"?"), False, "0.1"),
        (Said("a b c", breaks_after=2), True, "0.1"),
        (Said(usage=None), False, "0.1"),
    ],
    ids=["answered", "streamed", "refused", "garbage", "broken", "uncounted"],
)
def test_what_counts_after_each_kind_of_end(tmp_path: Path, said: Said, stream: bool, counted: str) -> None:
    with council(tmp_path, "cloud", budget={"day": 1}, **PRICED) as ground:
        ground.servers["cloud"].says = lambda body: said
        body = {"messages": MESSAGES, "stream": stream}
        ground.http().post("/v1/chat/completions", json=body)
        until(lambda: spent_or_none(ground) == Decimal(counted), f"${counted} to be counted")


def spent_or_none(ground: Ground) -> Decimal | None:
    try:
        return spent(ground)
    except AssertionError:
        return None


def test_who_leaves_pays_at_worst(tmp_path: Path) -> None:
    with council(tmp_path, "cloud", budget={"day": 1}, **PRICED) as ground:
        ground.servers["cloud"].says = lambda body: Said(delay=30.0)
        client = ground.client(timeout=0.5)
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="council", messages=MESSAGES)
        until(lambda: spent_or_none(ground) == Decimal("0.1"), "it to be counted")


def test_what_has_no_known_tokens_is_not_sent_where_it_costs(tmp_path: Path) -> None:
    with council(tmp_path, "cloud", **PRICED) as ground:
        image: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
        client = ground.client()
        with pytest.raises(openai.BadRequestError, match="cannot be reserved"):
            client.chat.completions.create(model="council", messages=[{"role": "user", "content": image}])
        assert ground.servers["cloud"].asked == []
