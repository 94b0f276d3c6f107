"""A job on its worker: whatever becomes of it is told, and nothing is raised."""

from __future__ import annotations

import socket

import dask
import pytest

from ogive.model import InputError
from ogive.scenes.errors import DamagedImageError, UnavailableError
from ogive.workflow.catalogue import Claim, Failure, Product
from ogive.workflow.runfile import template
from ogive.workflow.steps.job import Job, perform, product_of, size_of


def job(attempts=1, **run):
    usual = template()
    settings = usual.model_copy(update={"run": usual.run.model_copy(update=run)})
    return Job(Claim(1, "match", "pair", "a" * 16, attempts, 1, 2), "b" * 16, settings)


def failing(error, attempts=1):
    def make(_):
        raise error

    return perform(job(attempts), make).outcome


def test_a_product_with_where_and_how_long():
    made = Product("b" * 16, "match/one.nc", 1, "c" * 32)

    def make(asked):
        sum(range(300_000))
        return made

    asked = job()
    result = perform(asked, make)
    assert result.outcome == made
    assert result.claim == asked.claim
    assert result.host == socket.gethostname()
    assert 0 < result.cpu_s <= result.wall_s + 0.01


def test_an_error_of_ours_is_its_sentence():
    outcome = failing(DamagedImageError("the image ends early"))
    assert outcome == Failure("DamagedImageError", "the image ends early")


@pytest.mark.parametrize(
    ("attempts", "again_s"), [(1, 10.0), (2, 20.0), (4, 80.0), (5, None), (9, None)]
)
def test_what_may_be_over_soon_is_tried_again_ever_later(attempts, again_s):
    """Ten seconds, doubled with each attempt, until the fifth and last."""
    assert failing(UnavailableError("busy"), attempts).again_after_s == again_s


def test_waits_have_an_end():
    def make(_):
        raise UnavailableError("busy")

    assert perform(job(15, max_attempts=99), make).outcome.again_after_s == 600.0


def test_what_is_wrong_for_good_is_not_tried_again():
    assert failing(InputError("no such band")).again_after_s is None


def test_an_unexpected_error_tells_where():
    outcome = failing(ZeroDivisionError("a bug"))
    assert outcome.kind == "ZeroDivisionError"
    assert outcome.error.startswith("unexpected: a bug\n")
    assert "in failing" not in outcome.error
    assert "in make" in outcome.error


def test_dask_in_a_job_does_not_wait_for_the_cluster_that_it_is_on():
    def make(_):
        assert dask.config.get("scheduler") == "threads"
        assert dask.config.get("num_workers") == 3
        return Product("b" * 16, "one", 1, "c" * 32)

    assert isinstance(perform(job(threads=3), make).outcome, Product)


def test_a_product_is_described_by_what_it_holds(tmp_path):
    folder = tmp_path / "cube" / "one.zarr"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(b"123")
    (folder / "b").write_bytes(b"4567")
    told = product_of(job(), folder, tmp_path, {"layers": 2})
    assert (told.path, told.bytes, told.figures) == ("cube/one.zarr", 7, {"layers": 2})
    assert told.fingerprint == "b" * 16
    (folder / "b").write_bytes(b"4568")
    assert product_of(job(), folder, tmp_path, {}).checksum != told.checksum
    assert size_of(folder / "a") == 3
