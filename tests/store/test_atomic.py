"""Products appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ogive.model import OutputError
from ogive.store.atomic import atomic_dir, atomic_path


def names_in(folder: Path) -> list[str]:
    """Everything in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 kB, so that a full disk is a full disk."""
    place = tmp_path / "small_disk"
    place.mkdir()
    mounted = sys.platform == "linux" and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if not mounted or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs the rights of an administrator on Linux")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_file_appears_only_when_whole(tmp_path: Path) -> None:
    final = tmp_path / "new" / "folder" / "map.nc"
    with atomic_path(final) as path:
        assert path.name == "map.nc"
        path.write_bytes(b"half")
        assert not final.exists()
        path.write_bytes(b"whole")
    assert final.read_bytes() == b"whole"
    assert names_in(final.parent) == ["map.nc"]


def test_failure_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    final = tmp_path / "map.nc"
    final.write_bytes(b"before")

    def fail_halfway() -> None:
        with atomic_path(final) as path:
            path.write_bytes(b"half")
            path.with_name("map.nc.aux.xml").write_bytes(b"side file")
            raise ValueError("a bug elsewhere")

    with pytest.raises(ValueError, match="a bug elsewhere"):
        fail_halfway()
    assert final.read_bytes() == b"before"
    assert names_in(tmp_path) == ["map.nc"]


def test_new_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with atomic_path(tmp_path / "atomic") as path:
        path.write_bytes(b"")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


def test_full_disk_is_a_sentence_and_leaves_nothing(full_disk: Path) -> None:
    said = pytest.raises(OutputError, match=r"map\.nc cannot be written: the disk is full")
    with said, atomic_path(full_disk / "map.nc") as path:
        path.write_bytes(bytes(1 << 20))
    assert names_in(full_disk) == []


def test_folder_on_a_full_disk_keeps_the_one_before(full_disk: Path) -> None:
    final = full_disk / "cube.zarr"
    final.mkdir()
    (final / "chunk").write_bytes(b"before")
    with pytest.raises(OutputError, match="the disk is full"), atomic_dir(final) as folder:
        (folder / "chunk").write_bytes(bytes(1 << 20))
    assert (final / "chunk").read_bytes() == b"before"
    assert names_in(full_disk) == ["cube.zarr"]


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    said = pytest.raises(OutputError, match="cannot be written")
    with said, atomic_path(tmp_path / "file" / "map.nc"):
        pytest.fail("there is no place to write to")


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.nc").mkdir()
    with pytest.raises(OutputError, match="it is a folder"), atomic_path(tmp_path / "map.nc"):
        pytest.fail("there is no place to write to")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to root"
)
def test_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"), atomic_path(tmp_path / "map.nc"):
        pytest.fail("there is no place to write to")


def test_writer_that_writes_nothing_is_caught(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="left no file"), atomic_path(tmp_path / "map.nc"):
        pass
    assert names_in(tmp_path) == []


def test_folder_replaces_folder(tmp_path: Path) -> None:
    final = tmp_path / "cube.zarr"
    for content in ("one", "two"):
        with atomic_dir(final) as folder:
            (folder / content).write_text(content)
    assert names_in(final) == ["two"]
    assert names_in(tmp_path) == ["cube.zarr"]


def test_failed_folder_keeps_the_one_before(tmp_path: Path) -> None:
    final = tmp_path / "cube.zarr"
    with atomic_dir(final) as folder:
        (folder / "one").write_text("one")

    def fail_halfway() -> None:
        with atomic_dir(final) as folder:
            (folder / "two").write_text("two")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert names_in(final) == ["one"]


def test_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cube.zarr").write_bytes(b"")
    with pytest.raises(OutputError, match="it is a file"), atomic_dir(tmp_path / "cube.zarr"):
        pytest.fail("there is no place to write to")
