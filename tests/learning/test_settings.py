"""Settings are read with a sentence for what is wrong, and written so that they are read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from ogive.learning.settings import Settings, read_settings, settings_yaml
from ogive.model import InputError


class Leaf(Settings):
    colour: str = Field("green", description="Of the leaf.")
    sizes: tuple[float, ...] = Field((), description="In cm.\nThe first is the stalk's.")


class Tree(Settings):
    name: str = Field(description="Of the tree.")
    height_m: float = Field(1.0, gt=0, description="Over the ground.")
    age: int | None = Field(None, description="In years; null if unknown.")
    folder: Path | None = Field(None, description="Of its pictures.")
    trunk: Leaf = Field(Leaf(), description="What it stands on.")
    leaves: tuple[Leaf, ...] = Field((), description="What hangs on it.")
    weights: dict[str, float] = Field({}, description="Of its parts.")


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(Leaf, colour=words, sizes=st.lists(numbers, max_size=3).map(tuple))
trees = st.builds(
    Tree,
    name=words,
    height_m=st.floats(1e-9, 1e12),
    age=st.none() | st.integers(),
    trunk=leaves,
    leaves=st.lists(leaves, max_size=3).map(tuple),
    weights=st.dictionaries(words, numbers, max_size=2),
)


@settings(max_examples=40)
@given(trees)
def test_what_is_written_is_read_again(tree: Tree) -> None:
    assert Tree.model_validate(yaml.safe_load(settings_yaml(tree))) == tree


def test_descriptions_are_the_comments() -> None:
    tree = Tree(name="larch", folder=Path("pictures"), leaves=(Leaf(sizes=(1.0, 2.5)), Leaf()))
    assert settings_yaml(tree) == (
        "# Of the tree.\nname: larch\n# Over the ground.\nheight_m: 1.0\n"
        "# In years; null if unknown.\nage: null\n# Of its pictures.\nfolder: pictures\n"
        "# What it stands on.\ntrunk:\n  # Of the leaf.\n  colour: green\n"
        "  # In cm.\n  # The first is the stalk's.\n  sizes: []\n"
        "# What hangs on it.\nleaves:\n"
        "    # Of the leaf.\n  - colour: green\n    # In cm.\n    # The first is the stalk's.\n"
        "    sizes: [1.0, 2.5]\n"
        "    # Of the leaf.\n  - colour: green\n    # In cm.\n    # The first is the stalk's.\n"
        "    sizes: []\n"
        "# Of its parts.\nweights: {}\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nmae: larch", r"'name' is missing; there is no setting 'nmae'"),
        ("name: larch\ntrunk: {hue: 1}", r"there is no setting 'trunk\.hue'"),
        ("name: larch\nheight_m: -1", r"'height_m': Input should be greater than 0"),
        ("name: larch\nleaves: [{sizes: [a]}]", r"'leaves\.0\.sizes\.0': Input should be a valid"),
        ("- larch", "must be a YAML mapping"),
        ("", "must be a YAML mapping"),
        ("name: [", "is no YAML: while parsing"),
        ("name: x\n" + "\n".join(f"k{n}: 1" for n in range(8)), r"'k4'; and 3 more"),
    ],
)
def test_what_is_wrong_is_told_by_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"tree\.yaml.*{said}"):
        read_settings(path, Tree)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_settings(tmp_path / "none.yaml", Tree)
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is no YAML"):
        read_settings(tmp_path / "image.yaml", Tree)


def test_files_beside_the_settings_are_named_by_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far").mkdir()
    path = tmp_path / "tree.yaml"
    path.write_text('name: a\nfolder: "{here}/x"\nleaves: [{colour: "{here}"}]\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path / "far")
    read = read_settings(path, Tree)
    assert read.folder == Path("../x")
    assert read.leaves[0].colour == ".."


def test_settings_do_not_change() -> None:
    tree: Any = Tree(name="larch")
    with pytest.raises(ValueError, match="frozen"):
        tree.name = "fir"
