"""Great Expectations, kept quiet and deterministic: rules over data frames in, plain findings out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from meddet.data.finding import Finding

MAX_ROWS = 20


@dataclass(frozen=True)
class Rule:
    """One expectation: the table, the class in great_expectations.expectations, its arguments, and what it says."""

    table: str
    type: str
    kwargs: Mapping[str, Any]
    text: str


def check(tables: Mapping[str, tuple[pd.DataFrame, str]], rules: Sequence[Rule]) -> list[Finding]:
    """Evaluate rules on tables, each a frame with the name of its id column; findings come in the order of the rules.

    Nothing is sent anywhere and no progress bar is drawn. An empty table passes every rule on its rows.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations import expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("tables")
    findings: dict[int, Finding] = {}
    for name, (frame, id_column) in tables.items():
        suite = gx.ExpectationSuite(name=name)
        for index, rule in enumerate(rules):
            if rule.table == name:
                suite.add_expectation(getattr(expectations, rule.type)(**rule.kwargs, meta={"rule": index}))
        asset = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        batch = asset.get_batch(batch_parameters={"dataframe": frame})
        form = {"result_format": "COMPLETE", "unexpected_index_column_names": [id_column]}
        for result in batch.validate(suite, result_format=form).results:
            outcome: dict[str, Any] = result.to_json_dict()
            index = outcome["expectation_config"]["meta"]["rule"]
            findings[index] = _finding(rules[index], outcome, len(frame), id_column)
    assert len(findings) == len(rules), "a rule names no table, or is there twice"
    return [findings[index] for index in range(len(rules))]


def _finding(rule: Rule, outcome: dict[str, Any], num_rows: int, id_column: str) -> Finding:
    details = outcome["result"]
    found = details.get("unexpected_index_list") or []
    ids = sorted({entry[id_column] for entry in found}, key=lambda value: (isinstance(value, str), value))
    error = _error(outcome.get("exception_info") or {})
    return Finding(
        table=rule.table,
        type=rule.type,
        kwargs=rule.kwargs,
        text=rule.text,
        success=bool(outcome["success"]),
        num_rows=num_rows,
        num_failed=int(details.get("unexpected_count") or 0),
        rows=tuple(str(value) for value in ids[:MAX_ROWS]),
        error=error,
    )


def _error(info: dict[str, Any]) -> str | None:
    """Find what was raised, which Great Expectations tells either for the whole rule or by metric."""
    raised = [entry for entry in (info, *info.values()) if isinstance(entry, dict) and entry.get("raised_exception")]
    return " ".join(str(raised[0]["exception_message"]).split()) if raised else None
