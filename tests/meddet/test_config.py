from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from meddet import config
from meddet.config import load_params

ROOT = Path(__file__).parents[2]


def changed(tmp_path: Path, *keys: str, value: Any) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    section = content
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("baseline", "steps"), "many", r"baseline\.steps: .*integer.* got 'many'"),
        (("baseline", "stepz"), 10, r"baseline\.stepz: Extra inputs are not permitted"),
        (("view", "height"), 100, r"view\.height: .*multiple of 8, got 100"),
        (("distill", "method", "name"), "mgd", r"distill\.method: .*'meddet', 'fitnets'"),
        (("split", "test_fraction"), 1.5, r"split\.test_fraction: .*less than or equal to 1, got 1\.5"),
        (("teachers",), ["resnet18"], r"teachers\.0: .*'resnet50', 'resnet101' or 'resnet152', got 'resnet18'"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(tmp_path: Path, keys: tuple[str, ...], value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named) as error:
        load_params(changed(tmp_path, *keys, value=value))
    assert "\n" not in str(error.value)
    assert str(tmp_path / "params.yaml") in str(error.value)


def test_a_file_that_is_no_yaml_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: [1\nb: 2\n")
    with pytest.raises(ValueError, match=r"params\.yaml: expected YAML") as error:
        load_params(path)
    assert "\n" not in str(error.value)


def sections() -> list[type[BaseModel]]:
    return [c for c in vars(config).values() if isinstance(c, type) and issubclass(c, config.Section)]


@pytest.mark.parametrize("section", sections(), ids=lambda c: c.__name__)
def test_sections_are_closed_and_have_no_defaults(section: type[BaseModel]) -> None:
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["frozen"] is True
    assert all(field.is_required() for field in section.model_fields.values())
