"""MinHash: how well signatures estimate Jaccard, and that band keys follow the S-curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.minhash import DEFAULTS, MinHashSettings, band_keys, has_bands, signatures
from udfs.shingles import ShingleSets

TEXTS = st.text(alphabet="ab cd中文字。", max_size=60)


def from_arrays(arrays: list[np.ndarray]) -> ShingleSets:
    return ShingleSets.joined([ShingleSets(one, np.array([one.size])) for one in arrays])


def sets_of_jaccard(wanted: float, pairs: int, size: int = 300) -> tuple[ShingleSets, ShingleSets, float]:
    random = np.random.default_rng(7)
    common = round(2 * size * wanted / (1 + wanted))
    drawn = random.integers(0, 2**64, (pairs, 2 * size - common), dtype=np.uint64)
    left, right = np.sort(drawn[:, :size], axis=1), np.sort(drawn[:, size - common :], axis=1)
    return from_arrays(list(left)), from_arrays(list(right)), common / (2 * size - common)


def test_stored_values_never_change() -> None:
    # Signatures are stored: another hash needs a setting that names it, not another golden value.
    here = signatures(ShingleSets.of(["the cat sat on the mat"]))
    assert here[0, :3].tolist() == [230732429, 443676885, 749203848]
    assert band_keys(here)[0, :2].tolist() == [376143389942052318, -2165488355078863434]


@given(st.lists(TEXTS, max_size=8))
def test_a_signature_depends_on_its_text_alone(texts: list[str]) -> None:
    together = signatures(ShingleSets.of(texts))
    assert together.shape == (len(texts), DEFAULTS.bands * DEFAULTS.rows)
    for row, text in enumerate(texts):
        assert np.array_equal(signatures(ShingleSets.of([text]))[0], together[row])
    assert has_bands(together).tolist() == [bool(text.strip()) for text in texts]


def test_long_texts_cross_blocks() -> None:
    random = np.random.default_rng(0)
    sizes = (50_000, 3, 0, 90_000, 1, 0)
    lists = [np.unique(random.integers(0, 2**64, size, dtype=np.uint64)) for size in sizes]
    together = signatures(from_arrays(lists))
    assert np.array_equal(together, np.concatenate([signatures(from_arrays([one])) for one in lists]))


@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.7, 0.8])
def test_signatures_estimate_jaccard_and_bands_follow_the_s_curve(wanted: float) -> None:
    left, right, true = sets_of_jaccard(wanted, pairs=1500)
    one, other = signatures(left), signatures(right)
    equal = (one == other).mean(axis=1)
    assert equal.mean() == pytest.approx(true, abs=0.01)
    assert equal.std() == pytest.approx(np.sqrt(true * (1 - true) / one.shape[1]), rel=0.15)
    found = (band_keys(one) == band_keys(other)).any(axis=1).mean()
    assert found == pytest.approx(1 - (1 - true**DEFAULTS.rows) ** DEFAULTS.bands, abs=0.04)


def test_band_keys_are_signed_and_tell_bands_apart() -> None:
    same_everywhere = np.full((1, DEFAULTS.bands * DEFAULTS.rows), 5, dtype=np.uint32)
    keys = band_keys(same_everywhere)
    assert keys.dtype == np.int64
    assert np.unique(keys).size == DEFAULTS.bands


def test_seed_changes_signatures_only() -> None:
    here = ShingleSets.of(["the cat sat on the mat"])
    assert not np.array_equal(signatures(here), signatures(here, MinHashSettings(seed=1)))


@pytest.mark.parametrize("wrong", [{"bands": 0}, {"rows": -1}, {"threshold": 0.0}, {"threshold": 1.5}, {"seed": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MinHashSettings(**wrong)
