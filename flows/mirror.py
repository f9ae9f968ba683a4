"""`python -m flows.mirror`: write the finished graph into MLflow and register its student; again, if MLflow was away.

A command of its own, so that nothing here can hold up or fail a training.
"""

import os
import sys
from pathlib import Path

from flows import _records, _summary
from flows._environment import set_environment

_COMPARED_IMAGES = 3


def main() -> int:
    """Mirror the project in the working directory; say in one line what could not be done."""
    project = Path.cwd()
    set_environment(project)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from flows import _dvc, _mlflow, _registry

    try:
        lineage = _records.read_lineage(project)
        records = _records.read_records(project, [stage.name for stage in _dvc.stages(project)])
        results = _summary.read_results(project)
        client = MlflowClient()
        runs = _mlflow.mirror(client, records, lineage, results.headline(), artifacts=project / "mlartifacts")
        print(f"mirrored {len(runs)} stages into {os.environ['MLFLOW_TRACKING_URI']}, experiment {_mlflow.EXPERIMENT}")
        bundle = project / "artifacts" / "bundle"
        if bundle.is_dir() and "package" in runs:
            version = _registry.register(
                client,
                bundle,
                run_id=runs["package"],
                code=project / "meddet",
                images=sorted((project / "artifacts" / "images").glob("*.png"))[:_COMPARED_IMAGES],
                tags={**lineage.tags(), **results.student_tags()},
            )
            print(f"registered models:/{_registry.MODEL}/{version.version}, alias {_registry.ALIAS}")
    except (MlflowException, ValueError, OSError) as error:
        print(f"warning: not mirrored into MLflow: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
