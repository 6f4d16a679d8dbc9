"""The tables' contract: columns with types and comments, the key, and the step that owns each table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """One Delta table. `columns` maps a name to (Spark SQL type, comment); `key` identifies a row."""

    owner: str
    key: tuple[str, ...]
    comment: str
    columns: dict[str, tuple[str, str]]

    def ddl(self) -> str:
        """Returns the columns as a Spark DDL string with comments."""
        return ", ".join(f"`{name}` {kind} COMMENT '{comment}'" for name, (kind, comment) in self.columns.items())


def _columns(text: str) -> dict[str, tuple[str, str]]:
    rows = [line.strip().split(None, 2) for line in text.strip().splitlines()]
    return {name: (kind, comment.replace("'", "")) for name, kind, comment in rows}


TABLES: dict[str, Table] = {
    "files": Table(
        "ingest",
        ("source", "uri"),
        "Input files that were read: an unchanged file is not read again",
        _columns("""
            uri string address of the file
            source string name of the source in the config
            size bigint bytes
            modified string modification time or etag
            settings string hash of the settings it was read with
            records bigint records found, readable or not
            passages bigint rows that went to documents
            quarantined bigint rows that went to quarantine
        """),
    ),
    "documents": Table(
        "ingest",
        ("doc_id",),
        "One row per passage or question-answer seed",
        _columns("""
            doc_id string stable id of the passage
            kind string passage or qa
            text string the passage; for qa the question and the answer
            question string of a qa seed
            answer string of a qa seed
            parent_id string id of the record the passage was cut from
            offset bigint first character of the passage in its record
            source string name of the source
            format string file format
            uri string file it came from
            license string licence of the source
            lang string ISO 639 code, und when undecided
            n_tokens bigint tokens by the configured tokenizer
            text_hash string hash of the text
            title string of the record, where it has one
            meta map<string,string> other scalar fields of the record
        """),
    ),
    "quarantine": Table(
        "ingest",
        ("source", "uri", "position"),
        "Input records that could not be read",
        _columns("""
            uri string file
            position string where in the file
            source string name of the source, or benchmark:NAME for a file of curate.decontaminate (these rows are written by curate)
            reason string one word of a closed list
            error string what was wrong, in words
            raw string the record, cut to a bound
        """),
    ),
    "curation": Table(
        "curate",
        ("doc_id",),
        "Verdict on every document; seeds are the kept ones",
        _columns("""
            doc_id string document
            kept boolean is it a seed
            reason string why it was dropped
            kept_id string for a duplicate: the document that stands for it
            quality double 0 to 1
            similarity double true Jaccard with kept_id
            benchmark string for contamination: the first of benchmarks
            benchmarks array<string> for contamination: the items that share an n-gram with it, as NAME:item, at most 100
            personal_data array<string> kinds of personal data found
            clean_text string the text with personal data replaced, where there was any
            clean_question string likewise, of a qa seed
            clean_answer string likewise, of a qa seed
            rules map<string,double> value of each rule
            judging_id string hash of the settings and benchmarks of the verdict
            judged int number of the judging that gave the verdict: documents judged earlier outrank later ones
            document_hash bigint hash of what was judged
            normal_hash string hash of the normalised text: equal for exact duplicates
            shingle_hash string hash of the set of shingles: equal where the true Jaccard is 1
            n_shingles int size of that set
            bands array<bigint> of a kept document: MinHash bands, by which it meets near-duplicates
        """),
    ),
    "annotations": Table(
        "annotate",
        ("item_id", "text_hash", "annotator"),
        "Discipline and difficulty of seeds and questions",
        _columns("""
            item_id string doc_id or qa_id
            text_hash string hash of the annotated text
            annotator string name and version: its labels never change
            item_kind string doc or qa
            discipline string one of the taxonomy
            field string one of the taxonomy
            discipline_score double cosine or confidence
            difficulty int 1 to 5
            difficulty_score double before rounding
            model string model that labelled it
            prompt_id string prompt, for an LLM
            reason string why there is no label
            error string the reason in the words of the model or server
        """),
    ),
    "probe_results": Table(
        "probe",
        ("model", "item_id"),
        "Answers of the model in training to held-out questions",
        _columns("""
            model string model asked
            item_id string doc_id of the question
            text_hash string hash of the question
            discipline string of the question
            difficulty int of the question
            correct boolean did the answer match
            answer string what it said
            reason string why there is no answer
            error string the reason in the words of the model or server
            request_id string call in the ledger
        """),
    ),
    "allocation": Table(
        "plan",
        ("plan_id", "discipline", "difficulty", "branch", "grade"),
        "Token targets per cell",
        _columns("""
            plan_id string hash of what the plan was made of
            discipline string cell
            difficulty int cell
            branch string multi_grade or high_difficulty
            grade string audience
            weight double share of the total
            target_tokens bigint tokens of exported text
            deficiency double 1 - shrunk accuracy
            n bigint probe answers behind it
            ci_low double Wilson interval of 1 - accuracy as measured
            ci_high double Wilson interval of 1 - accuracy as measured
            explanation string every factor in words
        """),
    ),
    "llm_calls": Table(
        "ledger",
        ("request_id", "attempt"),
        "The ledger: every LLM call that ended, append-only",
        _columns("""
            request_id string hash of task, prompt, model, parameters, messages, sample
            attempt int 0, then one more for each --retry-failed
            task string what was asked
            prompt_id string versioned prompt
            model string model asked
            served_model string model that answered, by its own word
            params string sampling parameters as JSON
            sample int 0..n-1 among equal requests
            messages string the conversation as JSON
            response string the answer
            reasoning string reasoning text, kept apart
            finish_reason string stop, length, ...
            prompt_tokens bigint by the server
            completion_tokens bigint by the server
            cost double money, by the configured prices
            latency_s double seconds of the last HTTP request
            attempts int HTTP requests sent
            status string ok or failed
            error string why it failed
            run_id string run that paid
            created_at timestamp when the answer came
        """),
    ),
    "drafts": Table(
        "synthesize",
        ("draft_id",),
        "Questions as synthesised, and requests that gave none",
        _columns("""
            draft_id string hash of request and ordinal
            recipe_id string hash of prompt, model and parameters
            request_id string call in the ledger
            ordinal int place in the answer
            plan_id string plan it was made for
            seed_ids array<string> documents it was made from
            seed_hashes array<string> hashes of their texts as they were then
            lang string language asked for
            branch string multi_grade or high_difficulty
            grade string audience
            discipline string of the seed
            target_difficulty int of the cell
            question string as synthesised
            answer string as synthesised
            form string open, multiple choice, ...
            status string ok or rejected
            reason string why there is no question
            error string the reason in the words of the model or server
            parent_draft_id string where one was asked again
            escalation int times it was asked again
        """),
    ),
    "refinements": Table(
        "refine",
        ("qa_id",),
        "What the second model made of each draft",
        _columns("""
            qa_id string hash of draft and refine request
            recipe_id string hash of the prompts, models and parameters of draft and refinement
            draft_id string draft
            request_id string call in the ledger
            question string as refined
            answer string as refined
            text_hash string hash of the question
            verdict string ok, fixed or reject
            edits array<string> what was changed
            status string ok or rejected
            reason string why it was rejected
            error string the reason in the words of the model or server
        """),
    ),
    "checks": Table(
        "verify",
        ("qa_id",),
        "Rules applied to each refined question",
        _columns("""
            qa_id string question
            status string verified or rejected
            reason string first rule that failed
            quality double 0 to 1
            values map<string,double> value of each rule
        """),
    ),
    "qa": Table(
        "verify",
        ("qa_id",),
        "Questions whose fate is known; a verdict changes only when a setting, the label or the seed that it hangs on does",
        _columns("""
            qa_id string question
            recipe_id string hash of the prompts and models it came through
            basis string hash of what the verdict hangs on besides the question
            quality double 0 to 1
            lang string ISO 639 code
            seed_ids array<string> documents it was made from
            seed_hashes array<string> hashes of their texts
            branch string multi_grade or high_difficulty
            grade string audience
            question string final
            answer string final
            draft_answer string before refinement
            discipline string by the annotator
            difficulty int by the annotator
            target_difficulty int asked for
            status string verified or rejected
            reason string why it was rejected
            request_ids array<string> calls in the ledger
        """),
    ),
    "embeddings": Table(
        "embed",
        ("item_id", "role", "text_hash", "model"),
        "Unit vectors",
        _columns("""
            item_id string doc_id or qa_id
            role string text, question or question_answer
            text_hash string hash of the embedded text
            model string embedding model
            vector binary little-endian float16, unit length; null with a reason
            dim int numbers in a vector
            unknown_share double share of tokens unknown to the model
            cut boolean stands for the beginning of the text alone: longer than the window
            reason string why there is no vector, or why it must not decide alone
        """),
    ),
    "centroids": Table(
        "dedup",
        ("centroid_set_id", "cluster"),
        "Cluster centres that vectors are compared within",
        _columns("""
            centroid_set_id string dedup run that fitted the set
            cluster int number: the cells first, then the coarse cells
            model string embedding model
            vector binary little-endian float32, rounded to half floats
            parent int number of the coarse cell that it is found by; null for a coarse one
            scope string what it was fitted on: seed_dedup_id or dedup_id
            settings string hash of the settings it was fitted by
            rows bigint rows it was fitted for
            mean_cosine double of rows to their nearest centroid when it was fitted; drift is how much that has fallen
            created_at timestamp when it was fitted
        """),
    ),
    "edges": Table(
        "dedup",
        ("dedup_id", "a_id", "b_id"),
        "Compared pairs at or over the threshold",
        _columns("""
            dedup_id string dedup run
            a_id string smaller id
            b_id string larger id
            cosine double in float64
        """),
    ),
    "duplicates": Table(
        "dedup",
        ("dedup_id", "item_id"),
        "Removed rows, each with the kept row that stands for it",
        _columns("""
            dedup_id string dedup run
            item_id string removed
            kept_id string kept
            cosine double between the two; of a row whose equal was removed: of that one; null in a component, where the two are no pair
            method string exact or semantic
            threshold double of the run
        """),
    ),
    "dedup_runs": Table(
        "dedup",
        ("dedup_id",),
        "Dedup runs that are finished: what they compared, by what, and what came of it",
        _columns("""
            dedup_id string hash of inputs_id and parent_id
            inputs_id string hash of rows and settings
            scope string what was compared: seed_dedup_id or dedup_id
            content string hash of the rows and of what is known of their vectors
            settings string hash of the settings that decide which pairs are compared
            rule string hash of the settings that decide what is removed
            threshold double of the run
            parent_id string run that it continued, whose rows were not compared with each other again
            centroid_set_id string centroids it compared within; null where nothing was compared
            removed bigint rows in duplicates
            edges bigint rows in edges
            looked_at bigint rows in compared
            rows_in bigint rows it was given
            rows_out bigint rows that stay
            dropped map<string,bigint> rows dropped, by reason
            figures map<string,double> what it measured of itself
            created_at timestamp when it was finished
        """),
    ),
    "compared": Table(
        "dedup",
        ("dedup_id", "item_id"),
        "Rows that a dedup run was the first to look at; those of the runs that it continued stand there",
        _columns("""
            dedup_id string run
            item_id string doc_id or qa_id
            row_hash bigint hash of all that its comparison hangs on
            reason string why its vector was not compared
        """),
    ),
    "diversity": Table(
        "measure",
        ("inputs_id", "items", "scope", "metric"),
        "Diversity per scope",
        _columns("""
            inputs_id string hash of inputs and settings
            scope string all, or kind=value
            items string documents or qa
            metric string name of the measure
            value double value
            n bigint rows behind it; of cluster_agent_*: rounds
            params string settings of the measure; of cluster_agent_*: as JSON
            ci_low double interval
            ci_high double interval
        """),
    ),
    "cluster_rounds": Table(
        "measure",
        ("inputs_id", "items", "seed", "round"),
        "Rounds of the LLM cluster agent: what it was shown, its clusters and their verdicts",
        _columns("""
            inputs_id string hash of inputs and settings, as in diversity
            items string documents or qa
            seed bigint seed of the draw
            round int 0..N-1
            model string model asked
            samples int texts a round
            item_ids array<string> the texts in the order shown; members of clusters count from 1
            criteria string lines by which it sorted
            clusters array<struct<cluster:int,members:array<int>,reasoning:string,valid:boolean,reason:string>> all of them; valid and its reason by verification
            n_clusters int clusters that are valid
            n_kept int texts in them
            status string ok or rejected
            reason string why the round does not count
            error string the reason in the words of the model or server
            request_ids array<string> calls in the ledger: criteria, clusters, verdicts
        """),
    ),
    "mixture": Table(
        "select",
        ("mix_id", "item_id"),
        "Rows of the training set",
        _columns("""
            mix_id string hash of inputs and settings
            item_id string qa_id
            weight double sampling weight
            cell string discipline and difficulty
            n_tokens bigint tokens of the rendered text
            epoch_copies int times it stands in an epoch
        """),
    ),
    "steps": Table(
        "pipeline",
        ("run_id", "step", "attempt"),
        "What each run did",
        _columns("""
            run_id string run
            step string step
            attempt int place among the steps of that name in the run
            status string done, unchanged, failed, stopped_by_budget; outdated: with --retry-failed, before it is done again
            rows_in bigint rows it looked at
            rows_out bigint rows that went on
            dropped map<string,bigint> rows with a reason
            figures map<string,double> other figures
            ids map<string,string> names of what it made: plan_id, dedup_id, mix_id
            seconds double wall clock
            fingerprint string hash of settings and input versions
            versions_in map<string,bigint> Delta versions read
            versions_out map<string,bigint> Delta versions after it
            error string why it failed
            mlflow_run_id string MLflow run
            created_at timestamp when it ended
        """),
    ),
}
