"""Which request meets which fault."""

from __future__ import annotations

from collections import Counter

from udfs.engines.teacher_faults import Faults


def test_shares_come_out_as_set() -> None:
    faults = Faults(error_500=0.2, cut=0.1)
    counts = Counter(faults.choose(str(number).encode(), 0) for number in range(10_000))
    assert set(counts) == {"", "error_500", "cut"}
    assert abs(counts["error_500"] - 2000) < 150
    assert abs(counts["cut"] - 1000) < 120


def test_the_choice_depends_on_body_times_seen_and_seed_only() -> None:
    faults = Faults(error_500=0.5)
    choices = [faults.choose(b"body", seen) for seen in range(50)]
    assert choices == [faults.choose(b"body", seen) for seen in range(50)]
    assert len(set(choices)) == 2
    assert choices != [Faults(error_500=0.5, seed=1).choose(b"body", seen) for seen in range(50)]
    assert {Faults().choose(bytes([n]), 0) for n in range(100)} == {""}
