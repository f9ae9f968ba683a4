"""Names in the registry: the model, what points to its versions, and what is written on each."""

MODEL = "meddet"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

BUNDLE_TAG = "bundle.sha256"
"""Of the bundle's manifest, which holds the hash of every other file."""
CODE_TAG, DETECTIONS_TAG, LOADED_TAG = "code.sha256", "detections.sha256", "load_back"
LINEAGE = (BUNDLE_TAG, CODE_TAG, DETECTIONS_TAG, "data.md5", "git.revision", "dvc.lock.sha256", "params.sha256")
"""Without each of these nobody can say what a version was made from."""

DECISION_TAG, REASON_TAG, AGAINST_TAG = "promotion.decision", "promotion.reason", "promotion.against"
PROMOTED, ROLLED_BACK = "PROMOTE", "ROLLED-BACK"

EVALUATION = ("detections.json", "evaluate.json", "split.json")
"""Files that come with a version for the promotion."""
REPORT = "report.html"
"""The page for people, which comes with it where the graph has one."""
