"""What Prefect, MLflow and DVC find in the environment: stores inside the project, quiet, nothing sent, short waits."""

import os
import sys
from pathlib import Path

_LOOPBACK = ("127.0.0.1", "localhost")


def prefect_home(project: Path) -> Path:
    """Name the folder of Prefect's database and of the lock."""
    return project / ".prefect"


def tracking_uri(project: Path) -> str:
    """Name MLflow's database or server: the user's, or a file, absolute because MLflow's own depends on the folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project / 'mlflow.db'}"


def artifact_root(project: Path) -> str:
    """Name where MLflow's files go when it writes into a database itself, whichever that is."""
    return (project / "mlartifacts").as_uri()


def set_environment(project: Path) -> None:
    """Set this process's environment, before Prefect or MLflow are imported.

    An address that the user has set (MLFLOW_TRACKING_URI, PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL)
    stands. MLflow's waits are cut: with its defaults a server that refuses connections blocks for four minutes.
    """
    defaults = {
        "PREFECT_HOME": str(prefect_home(project)),
        "MLFLOW_TRACKING_URI": tracking_uri(project),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    fixed = {
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    os.environ.update(fixed)
    # A hospital's proxy can't reach this machine's own servers.
    for name in ("no_proxy", "NO_PROXY"):
        known = [one for one in os.environ.get(name, "").split(",") if one and one not in _LOOPBACK]
        os.environ[name] = ",".join([*known, *_LOOPBACK])
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
