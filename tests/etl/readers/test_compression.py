import bz2
import gzip
import io
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.compression import StreamBroken, compression_of, decompressed

COMPRESS = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress, ".bz2": bz2.compress}
NOISE = bytes(range(256)) * 4_000
suffixes = pytest.mark.parametrize("suffix", list(COMPRESS))


def read_all(data: bytes, suffix: str) -> tuple[bytes, list[str]]:
    stream, parts, reasons = decompressed(io.BytesIO(data), suffix), [], []
    while True:
        try:
            part = stream.read(10_000)
        except StreamBroken as broken:
            reasons.append(broken.reason)
            continue
        if not part:
            return b"".join(parts), reasons
        parts.append(part)


@suffixes
def test_several_members_are_one_stream(suffix):
    pack = COMPRESS[suffix]
    assert read_all(pack(NOISE) + pack(b"") + pack(b"end"), suffix) == (NOISE + b"end", [])


@suffixes
def test_a_cut_is_told_once_after_all_that_came_before(suffix):
    pack = COMPRESS[suffix]
    data = pack(b"whole") + pack(NOISE)[:-7]
    got, reasons = read_all(data, suffix)
    assert got.startswith(b"whole")
    assert (b"whole" + NOISE).startswith(got)
    assert reasons == ["truncated"]


@suffixes
def test_reading_goes_on_at_the_member_after_a_damaged_one(suffix):
    pack = COMPRESS[suffix]
    damaged = bytearray(pack(NOISE))
    damaged[len(damaged) // 2] ^= 0xFF
    got, reasons = read_all(pack(b"before") + bytes(damaged) + pack(b"after"), suffix)
    assert got.startswith(b"before")
    assert got.endswith(b"after")
    assert set(reasons) == {"unreadable"}


def test_damage_never_costs_the_members_after_it():
    members = [gzip.compress(b"%d " % n * 60) for n in range(4)]
    for at in range(10, len(members[1])):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(members[1])
            damaged[at] ^= flip
            got, reasons = read_all(members[0] + bytes(damaged) + members[2] + members[3], ".gz")
            assert got.endswith(b"2 " * 60 + b"3 " * 60), (at, flip)
            assert reasons or b"1 " * 60 in got


def test_a_wrong_checksum_is_damage():
    data = bytearray(gzip.compress(b"text"))
    data[-6] ^= 1
    assert read_all(bytes(data), ".gz")[1] == ["unreadable"]


@suffixes
def test_an_empty_file_is_cut_and_a_plain_one_unreadable(suffix):
    assert read_all(b"", suffix) == (b"", ["truncated"])
    assert read_all(b'{"text": "not compressed at all"}', suffix) == (b"", ["unreadable"])


def test_padding_after_gzip_is_fine_and_garbage_is_told():
    assert read_all(gzip.compress(b"x") + bytes(600), ".gz") == (b"x", [])
    assert read_all(gzip.compress(b"x") + b"garbage", ".gz") == (b"x", ["unreadable"])
    assert read_all(gzip.compress(b"x") + b"\x1f\x8b", ".gz") == (b"x", ["truncated"])


def test_skippable_zstd_frames_are_skipped():
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    assert read_all(skippable + COMPRESS[".zst"](b"x"), ".zst") == (b"x", [])


@pytest.mark.parametrize(("suffix", "bound"), [(".gz", 8e6), (".bz2", 8e6), (".zst", 40e6)])
def test_a_bomb_unfolds_in_bounded_memory(suffix, bound):
    bomb = COMPRESS[suffix](bytes(200_000_000))
    stream = decompressed(io.BytesIO(bomb), suffix)
    tracemalloc.start()
    size = sum(map(len, iter(lambda: stream.read(1 << 16), b"")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 200_000_000
    assert peak < bound


@settings(deadline=None)
@given(st.sampled_from(list(COMPRESS)), st.integers(0, 400), st.integers(0, 255))
def test_no_single_wrong_byte_makes_an_exception_or_a_silent_loss(suffix, index, value):
    lines = b"".join(b'{"id": %d}\n' % n for n in range(60))
    data = bytearray(COMPRESS[suffix](lines))
    data[index % len(data)] = value
    got, reasons = read_all(bytes(data), suffix)
    assert got == lines or reasons


def test_the_suffix_decides_in_any_case():
    assert [compression_of(name) for name in ("a.jsonl.GZ", "a.zst", "a.bz2", "a.json")] == [".gz", ".zst", ".bz2", ""]
