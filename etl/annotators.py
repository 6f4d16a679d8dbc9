"""The annotators of a config, named by all that their labels hang on: a label is never taken for one that other settings made."""

from __future__ import annotations

from etl.config import Config
from etl.embedder import embed_settings
from udfs.embedding_model import model_id
from udfs.requests import Asking, params_json
from udfs.tasks import TASKS
from udfs.taxonomy import Taxonomy, prototypes
from udfs.text import stable_id
from udfs.zero_shot import CUTS, LEVELS


def annotators(config: Config, taxonomy: Taxonomy) -> tuple[str, ...]:
    """Returns the names of the config's annotators, the first choice first: a label of the second counts where the first has none."""
    every = {"zero_shot": zero_shot_name(config, taxonomy), "llm": llm_name(config, taxonomy)}
    chosen = [config.annotate.annotator, config.annotate.fallback]
    return tuple(every[kind] for kind in dict.fromkeys(chosen) if kind in every)


def zero_shot_name(config: Config, taxonomy: Taxonomy) -> str:
    """Names the zero-shot annotator by model, prototypes, levels and bounds."""
    bounds = f"{config.annotate.min_score} {config.embed.max_unknown_share}"
    what = (repr(prototypes(taxonomy)), repr(disciplines_of(taxonomy)), repr(LEVELS), repr(CUTS), bounds)
    return f"zero_shot@1:{stable_id(model_id(embed_settings(config.embed)), *what)[:8]}"


def llm_name(config: Config, taxonomy: Taxonomy) -> str:
    """Names the LLM annotator by model, parameters, menu and prompts."""
    asking = llm_asking(config, taxonomy)
    what = (
        params_json(asking.params),
        repr(asking.shared),
        repr(disciplines_of(taxonomy)),
        TASKS["annotate"].prompts_id,
    )
    return f"llm@1:{stable_id(asking.model, *what)[:8]}"


def llm_asking(config: Config, taxonomy: Taxonomy) -> Asking:
    """Returns what the LLM annotator is asked: the same menu of fields with every item."""
    return Asking("annotate", config.llm.models.annotator, config.annotate.params, {"fields": llm_menu(taxonomy)})


def disciplines_of(taxonomy: Taxonomy) -> dict[str, str]:
    """Returns the discipline of every field."""
    return {f.id: f.discipline for f in taxonomy.fields}


def llm_menu(taxonomy: Taxonomy) -> dict[str, str]:
    """Returns the menu of fields for the prompt: field id -> names and terms in both languages."""
    return {
        f.id: f"{f.name_en} / {f.name_zh}: {', '.join(f.terms_en)}; {'、'.join(f.terms_zh)}" for f in taxonomy.fields
    }
