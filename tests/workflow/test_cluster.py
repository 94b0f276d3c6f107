"""Where jobs are done: threads, processes, a scheduler by address, and SLURM's jobs."""

from __future__ import annotations

import os
import stat
import threading

import psutil
import pytest
from dask.distributed import Client, LocalCluster

from ogive.model import InputError
from ogive.workflow.cluster import ClusterError, workers
from ogive.workflow.runfile import template

WAIT_S = 60.0


def settings(**run):
    usual = template()
    changed = usual.run.model_copy(update={"workers": 2, **run})
    return usual.model_copy(update={"run": changed})


def where():
    return os.getpid(), threading.get_ident()


def places(client, count):
    """Where so many jobs were done, each held until all have begun."""
    done = client.map(lambda _: where(), range(count), pure=False)
    return client.gather(done)


def test_threads_are_of_this_process():
    with workers("threads", settings()) as client:
        assert sum(client.nthreads().values()) == 2
        found = places(client, 4)
    assert {process for process, _ in found} == {os.getpid()}
    assert threading.get_ident() not in {thread for _, thread in found}


def test_local_workers_are_processes_that_end_with_the_run():
    with workers("local", settings()) as client:
        assert list(client.nthreads().values()) == [1, 1]
        found = client.run(os.getpid)
        assert os.getpid() not in found.values()
        assert len(set(found.values())) == 2
    assert not any(psutil.pid_exists(process) for process in found.values())


def test_a_scheduler_by_its_address_outlives_the_run():
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, host="127.0.0.1", protocol="tcp://",
        dashboard_address="127.0.0.1:0",
    ) as cluster:  # fmt: skip
        address = cluster.scheduler_address
        for _ in range(2):
            with workers(address, settings()) as client:
                assert client.scheduler.address == address
                assert client.submit(sum, (1, 2)).result(WAIT_S) == 3
        with Client(address) as after:
            assert len(after.nthreads()) == 1


def test_an_address_where_nobody_is(monkeypatch):
    monkeypatch.setattr("ogive.workflow.cluster.CONNECT_S", 0.5)
    with (
        pytest.raises(
            ClusterError, match=r"no Dask scheduler at tcp://127.0.0.1:1 .*dask scheduler"
        ),
        workers("tcp://127.0.0.1:1", settings()),
    ):
        pass


def test_no_such_cluster():
    with (
        pytest.raises(InputError, match="no cluster 'cloud': take local, threads, slurm, or"),
        workers("cloud", settings()),
    ):
        pass


# ---- SLURM ---------------------------------------------------------------------------------------

SBATCH = """\
#!/bin/sh
cp "$1" "{folder}/job.sh"
echo submitted >> "{folder}/calls"
if [ -e "{folder}/runs" ]; then
    setsid sh "{folder}/job.sh" > "{folder}/log" 2>&1 &
    echo $! > "{folder}/pid"
fi
echo "Submitted batch job 17"
"""
SCANCEL = """\
#!/bin/sh
echo "cancelled $1" >> "{folder}/calls"
if [ -e "{folder}/pid" ]; then kill -- -"$(cat "{folder}/pid")"; fi
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A stand-in for SLURM's commands, which keep the job's script; it runs where ``runs`` is."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        program = tmp_path / name
        program.write_text(text.format(folder=tmp_path))
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def asked(**slurm):
    usual = settings()
    changed = usual.run.slurm.model_copy(update={"interface": "lo", **slurm})
    return settings(slurm=changed)


def wait_for(path):
    for _ in range(int(WAIT_S / 0.05)):
        if path.exists() and path.stat().st_size:
            return path.read_text()
        threading.Event().wait(0.05)
    raise AssertionError(f"there is no {path.name}")


def test_the_job_asks_slurm_for_what_the_run_file_says(queue):
    wanted = asked(
        jobs=1, cores=6, memory="48GB", queue="ice", walltime="03:30:00", account="glaciers"
    )
    with workers("slurm", wanted):
        script = wait_for(queue / "job.sh")
    lines = script.splitlines()
    for line in (
        "#SBATCH -p ice", "#SBATCH -A glaciers", "#SBATCH -n 1", "#SBATCH --cpus-per-task=6",
        "#SBATCH --mem=45G", "#SBATCH -t 03:30:00",
    ):  # fmt: skip
        assert line in lines
    (command,) = [line for line in lines if "dask_worker" in line]
    assert "--nworkers 6" in command  # a process for each pair, none waits for another's lock
    assert "--nthreads 1" in command
    assert "--interface lo" in command
    assert "tcp://127.0.0.1:" in command


def test_a_job_of_slurm_does_the_work_and_is_cancelled_in_the_end(queue):
    (queue / "runs").touch()
    with workers("slurm", asked(jobs=1, cores=1, memory="1GB")) as client:
        process = client.submit(os.getpid).result(WAIT_S)
        assert process != os.getpid()
    assert (queue / "calls").read_text().split("\n")[:2] == ["submitted", "cancelled 17"]


def test_without_slurm_nobody_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ClusterError, match=r"no SLURM on this machine .*--cluster local"),
        workers("slurm", settings()),
    ):
        pass


def test_slurm_without_its_package(queue, monkeypatch):
    monkeypatch.setattr("ogive.workflow.cluster.find_spec", lambda name: None)
    with (
        pytest.raises(InputError, match=r"pip install 'ogive\[cluster\]'"),
        workers("slurm", settings()),
    ):
        pass
