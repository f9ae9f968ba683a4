"""The validation page: one file that opens anywhere, loads nothing and calls nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from meddet.data.finding import Finding

_MAX_ROWS = 20
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --muted: #5b6875; --paper: #ffffff; --panel: #f5f7f9;
  --line: #d5dce2; --good: #1d7a4d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --muted: #9aa7b3; --paper: #12181e; --panel: #1b232b; --line: #303b46;
    --good: #5cc98f; --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .muted { color: var(--muted); }
.verdict { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; } table { width: 100%; min-width: 36rem; table-layout: fixed; border-collapse: collapse; }
th:nth-child(1) { width: 30%; } th:nth-child(3) { width: 18%; } th:nth-child(4) { width: 12%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--muted); } td.number, th.number { text-align: right; white-space: nowrap; }
.failure { background: var(--panel); border-left: 4px solid var(--bad); border-radius: 4px; padding: .75rem 1rem;
  margin: .75rem 0; }
code { font: .875rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Gate:
    """What one gate found: a line, and the rows; `holds` says whether the graph may go on."""

    name: str
    holds: bool
    said: str
    rows: tuple[str, ...]


def validation_page(
    findings: Sequence[Finding], gates: Sequence[Gate], *, num_rows: Mapping[str, int], data_md5: str
) -> str:
    """Give the whole page, failures first; the same findings are the same text."""
    failed = [finding for finding in findings if not finding.success]
    closed = [gate.name for gate in gates if not gate.holds]
    if closed:
        kind, said = "bad", f"{escape(', '.join(closed))}: refused. The graph stops here."
    elif failed:
        kind, said = "bad", f"{len(failed)} of {len(findings)} expectations failed. The graph stops here."
    else:
        kind, said = "good", f"All {len(findings)} expectations hold."
    counts = ", ".join(f"{count:,} {escape(name)}" for name, count in num_rows.items())
    tables = "".join(_table(name, [f for f in findings if f.table == name]) for name in num_rows)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MedDet data validation</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Data validation</h1>
<p class="muted">{counts} · data <code>{escape(data_md5)}</code> · research use only</p>
<p class="verdict {kind}">{said}</p>
{"".join(_failure(finding) for finding in failed)}
{"".join(_gate(gate) for gate in gates)}
{tables}
</main>
</body>
</html>
"""


def _gate(gate: Gate) -> str:
    rows = "".join(f"<li>{escape(row)}</li>" for row in gate.rows[:_MAX_ROWS])
    more = f"<li>and {len(gate.rows) - _MAX_ROWS} more</li>" if len(gate.rows) > _MAX_ROWS else ""
    kind = "" if gate.holds else ' class="bad"'
    listed = f"<ul>{rows}{more}</ul>" if rows else ""
    return f"<h2>{escape(gate.name)}</h2><p{kind}>{escape(gate.said)}</p>{listed}"


def _failure(finding: Finding) -> str:
    if finding.error:
        detail = f"<p>It could not be evaluated: {escape(finding.error)}</p>"
    else:
        more = f", and {finding.num_failed - len(finding.rows)} more" if finding.num_failed > len(finding.rows) else ""
        rows = escape(", ".join(finding.rows) + more)
        detail = f"<p>{finding.num_failed:,} of {finding.num_rows:,} rows: <code>{rows}</code></p>"
    return (
        f'<section class="failure"><p><strong>{escape(finding.table)}.{escape(finding.columns)}</strong>: '
        f"expected {escape(finding.text)} {_limits(finding)}</p>{detail}</section>"
    )


def _table(name: str, findings: Sequence[Finding]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(finding.columns)}</code></td><td>{escape(finding.text)} {_limits(finding)}</td>"
        f'<td class="number">{finding.num_failed:,} / {finding.num_rows:,}</td>{_outcome(finding)}</tr>'
        for finding in findings
    )
    head = '<tr><th>column</th><th>expected</th><th class="number">failing rows</th><th>outcome</th></tr>'
    return f'<h2>{escape(name.capitalize())}</h2><div class="scroll"><table>{head}{rows}</table></div>'


def _outcome(finding: Finding) -> str:
    return '<td class="good">holds</td>' if finding.success else '<td class="bad">fails</td>'


def _limits(finding: Finding) -> str:
    return f'<span class="muted">({escape(finding.limits)})</span>' if finding.limits else ""
