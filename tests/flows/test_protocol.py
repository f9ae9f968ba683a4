import ast
from pathlib import Path

import pytest
import yaml

from flows._protocol import load_protocol

ROOT = Path(__file__).parents[2]
NOTE = "The numbers below are set for the synthetic phantom"


def changed(folder: Path, section: str, key: str, value: object) -> Path:
    content = yaml.safe_load((ROOT / "promotion.yaml").read_text())
    content[section][key] = value
    path = folder / "promotion.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_projects_protocol_says_what_its_numbers_are_not() -> None:
    assert load_protocol(ROOT / "promotion.yaml").comparison.min_patients >= 20
    assert NOTE in (ROOT / "promotion.yaml").read_text()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("floors", "ap50", 1.5),
        ("floors", "sensitivity", {"protrusion": 0.5}),
        ("floors", "sensitivity", {"protrusion": 0.5, "osteophyte": 0.5}),
        ("floors", "latency_ratio", 0.5),
        ("groups", "kinds", []),
        ("comparison", "margin", -0.1),
        ("comparison", "metric", "false_positives_per_image"),
        ("comparison", "resamples", 10),
        ("integrity", "uncommitted", "maybe"),
        ("integrity", "typo", 1),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, section: str, key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"promotion.yaml: {section}\.{key}.*got") as error:
        load_protocol(changed(tmp_path, section, key, value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- a", "a: [", "\x00"])
def test_a_file_that_is_no_protocol_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "promotion.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"promotion.yaml: ") as error:
        load_protocol(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="found none"):
        load_protocol(tmp_path / "absent.yaml")


def test_every_field_is_explained_and_has_no_default() -> None:
    tree = ast.parse((ROOT / "flows" / "_protocol.py").read_text())
    sections = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(sections) == 7
    for section in sections:
        fields = [index for index, node in enumerate(section.body) if isinstance(node, ast.AnnAssign)]
        assert fields
        for index in fields:
            field, explanation = section.body[index], section.body[index + 1]
            assert isinstance(field, ast.AnnAssign)
            assert field.value is None, ast.unparse(field)
            assert isinstance(explanation, ast.Expr), ast.unparse(field)
